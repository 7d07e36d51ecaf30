"""Every setting there is, checked and frozen before anything runs. Nothing else reads the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
KIB = 1024
MIB = 1024 * KIB


class Settings(BaseSettings):
    """Read from `SPATIAL_*` variables: `SPATIAL_DATABASE_URL` is `database_url`. `spatial config` prints them all."""

    model_config = SettingsConfigDict(
        env_prefix="SPATIAL_",
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # some are secrets
    )

    database_url: SecretStr | None = None
    """`postgresql://user:password@host:5432/database`; unset, `spatial serve --embedded` runs a private cluster."""
    database_url_file: str | None = None
    """A file with `database_url` in it, such as a mounted secret."""

    replica_urls: SecretStr = SecretStr("")
    """Streaming replicas that reads go to, each as `postgresql://user:password@host:5432/database`; a list."""
    replica_max_lag_bytes: Count = 16 * MIB
    """How far a replica may be behind the primary, in bytes of its log, before reads go elsewhere."""
    replica_wait: Annotated[float, Field(ge=0)] = 0.1
    """How long a read with a `freshness_token` waits for a replica before it goes to the primary."""
    replica_interval: Seconds = 1.0
    """How often the replicas and how far they have come are looked at."""
    replica_urls_file: str | None = None
    """A file with `replica_urls` in it."""

    listen: str = "127.0.0.1:50051"
    """Where gRPC is served; port 0 takes a free one."""
    metrics_listen: str = "127.0.0.1:9464"
    """Where /metrics and the status page are served, over HTTP."""
    health_listen: str | None = None
    """Where health alone is served as well, in the clear and to anybody: for probes that speak no TLS."""
    grace_seconds: Annotated[float, Field(ge=0)] = 20.0
    """How long running calls may go on after SIGTERM."""

    workers: Count | None = None
    """Processes that serve side by side; unset: one in a container, as many as there are cores elsewhere."""
    max_connection_age: Annotated[float, Field(ge=0)] = 15.0
    """Seconds after which callers connect anew; below 0.9 of the grace, lest stops cut calls short. 0: never."""
    expected_replicas: Count = 1
    """Services like this one that share the database, for the warning that its connections do not suffice."""

    tls_certificate: str | None = None
    """PEM file of the server's certificate and those between it and its authority; read again when it changes."""
    tls_key: str | None = None
    """PEM file of the key of `tls_certificate`, without a password."""
    tls_client_ca: str | None = None
    """PEM file of the authorities of clients' certificates; set, nobody connects without one of theirs."""
    tls_client_scopes: str = ""
    """What any client certificate may do without a token, e.g. `spatial.read`; empty: only those in `tokens_file`."""
    tokens_file: str | None = None
    """YAML or TOML file of callers: their tokens or certificates, and what each may do; docs/security.md."""
    jwks: str | None = None
    """File or http(s) URL of the keys of whoever issues JSON Web Tokens."""
    jwt_issuer: str | None = None
    """The `iss` that tokens must have."""
    jwt_audience: str | None = None
    """The `aud` that tokens must have: this service, under the name that its issuer has for it; or several names."""
    jwt_leeway: Annotated[float, Field(ge=0)] = 30.0
    """Seconds by which the clocks of issuers may be off."""
    insecure: bool = False
    """Serve everybody, also beyond loopback. Where the network itself keeps others out."""
    reflection: bool = True
    """Whether the server describes its contract to tools such as grpcurl; to anybody who can connect."""
    admin: bool = True
    """Whether AdminService is served: plans, the doctor, maintenance."""

    layers: str = "models"
    """`models` (the tables that ship), tables (`public.roads`), patterns (`gis.*`), .yaml or .toml files; a list."""
    layers_refresh: Annotated[float, Field(ge=0)] = 0.0
    """Seconds after which tables are looked for again, and again; 0: only when RefreshLayers is called."""

    lanes: Count = 4
    """Statements at a time for quick calls; calls of one shape that wait together share one."""
    lanes_per_shape: Count = 1
    """Statements at a time for one shape. More helps only where PostgreSQL has cores to spare."""
    heavy_lanes: Count = 2
    """Statements at a time for calls that may be slow; each has its statement to itself."""
    lane_batch: Count = 64
    """Calls that one statement may answer."""
    lane_queue: Count = 1000
    """Calls that may wait for a lane; more are refused with OVERLOADED."""

    pool_size: Count = 6
    """Connections for reads, in each process. Lanes beyond it wait for one another."""
    pool_timeout: Seconds = 1.0
    """How long a call waits for a connection before POOL_EXHAUSTED."""
    pool_recycle: Seconds = 1800.0
    """Age at which a connection is replaced, so that memory and routing on the server's side do not age."""
    connect_timeout: Count = 3
    """Seconds to wait for a new connection."""

    bulk_pool_size: Count = 8
    """Connections for streams and matches, in each process: what they use, no lookup waits for."""
    max_streams: Count = 8
    """Streams at a time, in each process; more are refused with TOO_MANY_STREAMS."""
    stream_connections: Count = 2
    """Connections that one stream of a whole layer in the ARROW layout may read with at once."""
    match_connections: Count = 2
    """Statements at a time for matches, in each process."""
    stall_timeout: Seconds = 60.0
    """How long a stream waits for its reader to make room for more before STREAM_STALLED."""

    write_pool_size: Count = 8
    """Connections for changes of single features, in each process: so many are committed at a time."""
    write_queue: Count = 1000
    """Changes that may wait for a connection; more are refused with OVERLOADED."""
    request_memory: Seconds = 86_400.0
    """How long a `request_id` and its answer are remembered; afterwards the same request takes effect again."""
    max_imports: Count = 2
    """Imports at a time, in each process, each with a connection for bulk work; more get TOO_MANY_STREAMS."""
    import_patience: Seconds = 60.0
    """How long an import tries again what fails for a while, such as a database that is away."""
    import_memory: Seconds = 30 * 86_400.0
    """How long an import can be continued after its last rows; afterwards it would begin anew."""

    statement_timeout: Seconds = 30.0
    """The longest a statement may run; the caller's own deadline ends it earlier. A stream may run longer."""
    max_plan_cost: Annotated[float, Field(ge=0)] = 0.0
    """Calls whose plan costs more, in the planner's units, are refused with PLAN_TOO_EXPENSIVE; 0: none is."""
    refuse_seq_scan: Annotated[int, Field(ge=0)] = 0
    """Rows that a table may have to be read from end to end; above: SEQ_SCAN_REFUSED. Small ones always are. 0: any."""
    lock_timeout: Seconds = 2.0
    """The longest a statement waits for a lock."""
    idle_in_transaction_timeout: Seconds = 30.0
    """After how long PostgreSQL ends a session that idles in a transaction."""
    work_mem: str = "16MB"
    """Memory for each sort or hash of a statement."""
    random_page_cost: Annotated[float, Field(gt=0)] = 1.1
    """The planner's price of a random read; 4 is for spinning disks."""
    jit: bool = False
    """Whether PostgreSQL may compile statements; short ones are done before they are compiled."""
    application_name: str = "spatial-service"
    """How the service's sessions are called in pg_stat_activity."""
    pooler: Literal["none", "transaction"] = "none"
    """What is between this service and PostgreSQL: `transaction` for PgBouncer in that mode; docs/pgbouncer.md."""

    max_request_bytes: Count = 8 * MIB
    """The largest message accepted."""
    max_response_bytes: Count = 4 * MIB - 64 * KIB
    """Where a page is cut short; gRPC clients refuse messages above 4 MiB unless told otherwise."""
    max_vertices: Count = 250_000
    """Vertices that a geometry in a request may have."""
    max_geometry_depth: Annotated[int, Field(ge=1, le=32)] = 8
    """How deep geometry collections in a request may nest."""
    max_radius: Annotated[float, Field(gt=0)] = 20_100_000.0
    """The largest radius, in metres (or units of a planar CRS); half the Earth's girth is 20,004 km."""
    max_page_size: Annotated[int, Field(ge=1, le=1000)] = 1000
    """The most features of a page, and of one probe's matches; larger wishes are coerced to it."""

    max_calls: Annotated[int, Field(ge=0)] = 0
    """Calls at a time in each process, streams among them; more are refused with TOO_MANY_CALLS. 0: any number."""
    max_calls_per_peer: Annotated[int, Field(ge=0)] = 0
    """The same for each caller: a principal or, without authentication, an address. 0: any number."""
    rate: Annotated[float, Field(ge=0)] = 0.0
    """Calls a second of each caller in each process; more are refused with RATE_LIMITED. 0: any number."""
    rate_burst: Count = 100
    """Calls that a caller may make at once after a pause, beyond `rate`."""
    adaptive_limit: bool = True
    """Whether calls that would wait too long are refused with OVERLOADED at once; docs/limits.md."""
    queue_target: Seconds = 0.05
    """How long a quick call may wait behind others; it may always wait for the statement that runs as it comes."""
    heavy_queue_target: Seconds = 2.0
    """How long a slow call or a change may wait for its turn."""
    memory_limit: Annotated[int, Field(ge=0)] = 0
    """Bytes for all processes; near it calls are refused with MEMORY_PRESSURE. 0: what the container may have."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lines below this level are not written."""
    log_format: Literal["json", "console"] = "json"
    """JSON for machines, console for people."""
    log_rate: Annotated[int, Field(ge=0)] = 100
    """Lines of one kind in a second; further ones are counted, and their number told. 0: all are written."""
    slow_call: Annotated[float, Field(ge=0)] = 1.0
    """Seconds after which a call is logged with what it waited for and ran; 0: none is. Streams are not judged."""
    slow_call_plans: bool = False
    """Whether the plan of a slow call's search is asked for and logged. Plans show what filters compare with."""
    trace_endpoint: str | None = None
    """Where spans are sent: an OpenTelemetry collector's address, as http://collector:4318. Unset: none are made."""
    trace_sample: Annotated[float, Field(ge=0, le=1)] = 0.05
    """The share of calls that is traced where their callers do not say."""

    health_interval: Seconds = 1.0
    """How often readiness looks at the database."""

    @model_validator(mode="before")
    @classmethod
    def _read_secrets(cls, given: dict[str, Any]) -> dict[str, Any]:
        """What is called `…_file` beside a setting of that name has its value, unless that is given itself."""
        for name in cls.model_fields:
            secret = name.removesuffix("_file")
            if secret != name and secret in cls.model_fields and given.get(name):
                if given.get(secret):
                    raise ValueError(f"of SPATIAL_{secret.upper()} and SPATIAL_{name.upper()} only one can be set")
                given = {**given, secret: _contents(name, str(given[name]))}
        return given


def _contents(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", "it is no text")
        raise ValueError(f"SPATIAL_{name.upper()}: {path} cannot be read: {why}") from None
