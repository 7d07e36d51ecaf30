// Asks the spatial service a few questions: what is near, a whole layer in a stream that survives a cut, and how errors
// are told apart.
//
//     ./generate && npm ci && node ask.js [TARGET]
import { setTimeout as pause } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const contract = protoLoader.loadSync(["spatial/v1/query.proto", "google/rpc/error_details.proto"], {
  includeDirs: [fileURLToPath(new URL("protos", import.meta.url))],
  keepCase: true,
  enums: String,
  longs: String, // ids may be beyond 2^53
});
const { SpatialService } = grpc.loadPackageDefinition(contract).spatial.v1;

const target = process.argv[2] ?? process.env.SPATIAL_TARGET ?? "127.0.0.1:50051";
const client = new SpatialService(target, grpc.credentials.createInsecure());
const giveUp = Date.now() + 60_000;

await near();
await everyZone();
await nowhere();
client.close();

/** Prints what lies within 300 metres of a point, the nearest first. */
async function near() {
  const query = {
    layer: "facilities",
    center: { point: { latitude: 40.7128, longitude: -74.006 } },
    radius_meters: 300,
  };
  const { features } = await patiently(() => unary("SearchRadius", { query, output: { properties: ["name"] } }));
  for (const { properties, distance_meters: distance, geometry } of features) {
    const name = properties.fields.name.stringValue;
    console.log(`${name}, ${distance.toFixed()} m, ${geometry.wkb.length} bytes of WKB`);
  }
}

/**
 * Reads a whole layer. The first stream is given up after one batch, as a connection that breaks would have it; the next
 * one goes on behind the last batch that came.
 */
async function everyZone() {
  const request = { query: { layer: "zones" }, layout: "BATCH_LAYOUT_COLUMNS", resumable: true };
  const zones = new Set();
  const read = async (atMost) => {
    const stream = client.StreamFeatures(request, { deadline: giveUp });
    stream.on("error", () => {}); // cancelling is one; others are thrown by the loop
    try {
      for await (const batch of stream) {
        for (const id of batch.columns.int64_ids) {
          if (zones.has(id)) throw new Error(`zone ${id} came twice`);
          zones.add(id);
        }
        request.resume_token = batch.resume_token;
        if (--atMost === 0) return;
      }
    } finally {
      stream.cancel(); // tells the server that nobody reads any more
    }
  };
  await patiently(() => read(1));
  console.log(`cut after ${zones.size} zones`);
  await patiently(() => read(Infinity));
  console.log(`${zones.size} zones, each once`);
}

/** Asks about a layer that is not there, and prints the reason that a program can rely on. */
async function nowhere() {
  try {
    await patiently(() => unary("GetLayer", { name: "roads" }));
  } catch (error) {
    if (error.code !== grpc.status.NOT_FOUND) throw error;
    console.log("refused:", explained(error).reason);
  }
}

function unary(method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, { deadline: giveUp }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

/** Makes a call again where its error says that a later try may succeed, after as long as it says. */
async function patiently(call) {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const { reason, seconds } = explained(error);
      if (!seconds || Date.now() + seconds * 1000 > giveUp) throw error;
      console.error(`${reason}: waiting for ${seconds} s`);
      await pause(seconds * 1000);
    }
  }
}

/** Why a call failed, and after how many seconds to try again: none where that would not help. */
function explained(error) {
  let reason = "no connection";
  let seconds = error.code === grpc.status.UNAVAILABLE ? 1 : 0; // unless the server says more
  const [packed] = error.metadata?.get("grpc-status-details-bin") ?? [];
  if (!packed) return { reason, seconds };
  for (const detail of contract["google.rpc.Status"].deserialize(packed).details) {
    const type = detail.type_url.split("/").pop();
    const { reason: said, retry_delay: delay } = contract[type].deserialize(detail.value);
    if (type === "google.rpc.ErrorInfo") reason = said;
    if (type === "google.rpc.RetryInfo") seconds = Number(delay.seconds ?? 0) + (delay.nanos ?? 0) / 1e9;
  }
  return { reason, seconds };
}
