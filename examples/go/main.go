// Asks the spatial service a few questions: what is near, a whole layer in a stream that survives a cut, and how errors
// are told apart.
//
//	./generate && go run . [TARGET]
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/type/latlng"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	spatial "spatial.example/ask/spatialv1"
)

func main() {
	log.SetFlags(0)
	target := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		target = os.Args[1]
	}
	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	client := spatial.NewSpatialServiceClient(connection)

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, ask := range []func(context.Context, spatial.SpatialServiceClient) error{near, everyZone, nowhere} {
		if err := ask(ctx, client); err != nil {
			log.Fatal(err)
		}
	}
}

// near prints what lies within 300 metres of a point, the nearest first.
func near(ctx context.Context, client spatial.SpatialServiceClient) error {
	request := &spatial.SearchRadiusRequest{
		Query: &spatial.RadiusQuery{
			Layer:        "facilities",
			Center:       pointAt(40.7128, -74.006),
			RadiusMeters: 300,
		},
		Output: &spatial.Output{Properties: []string{"name"}},
	}
	return patiently(ctx, func() error {
		answer, err := client.SearchRadius(ctx, request)
		if err != nil {
			return err
		}
		for _, feature := range answer.GetFeatures() {
			name := feature.GetProperties().GetFields()["name"].GetStringValue()
			wkb := feature.GetGeometry().GetWkb()
			fmt.Printf("%s, %.0f m, %d bytes of WKB\n", name, feature.GetDistanceMeters(), len(wkb))
		}
		return nil
	})
}

// everyZone reads a whole layer. The first stream is given up after one batch, as a connection that breaks would have
// it; the next one goes on behind the last batch that came.
func everyZone(ctx context.Context, client spatial.SpatialServiceClient) error {
	request := &spatial.StreamFeaturesRequest{
		Query:     &spatial.LayerQuery{Layer: "zones"},
		Layout:    spatial.BatchLayout_BATCH_LAYOUT_COLUMNS,
		Resumable: true,
	}
	zones := make(map[int64]bool)
	read := func(ctx context.Context, atMost int) error {
		stream, err := client.StreamFeatures(ctx, request)
		if err != nil {
			return err
		}
		for batches := 0; batches < atMost; batches++ {
			batch, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, id := range batch.GetColumns().GetInt64Ids() {
				if zones[id] {
					return fmt.Errorf("zone %d came twice", id)
				}
				zones[id] = true
			}
			request.ResumeToken = batch.GetResumeToken()
		}
		return nil
	}

	first, leave := context.WithCancel(ctx)
	err := patiently(first, func() error { return read(first, 1) })
	leave() // tells the server that nobody reads any more
	if err != nil {
		return err
	}
	fmt.Printf("cut after %d zones\n", len(zones))
	if err := patiently(ctx, func() error { return read(ctx, 1_000_000) }); err != nil {
		return err
	}
	fmt.Printf("%d zones, each once\n", len(zones))
	return nil
}

// nowhere asks about a layer that is not there, and prints the reason that a program can rely on.
func nowhere(ctx context.Context, client spatial.SpatialServiceClient) error {
	err := patiently(ctx, func() error {
		_, err := client.GetLayer(ctx, &spatial.GetLayerRequest{Name: "roads"})
		return err
	})
	if status.Code(err) != codes.NotFound {
		return fmt.Errorf("expected NOT_FOUND, and not %w", err)
	}
	reason, _ := explained(err)
	fmt.Println("refused:", reason)
	return nil
}

// patiently makes a call again where its error says that a later try may succeed, after as long as it says.
func patiently(ctx context.Context, call func() error) error {
	for {
		err := call()
		reason, wait := explained(err)
		if wait == 0 {
			return err
		}
		log.Printf("%s: waiting for %v", reason, wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
	}
}

// explained says why a call failed, and after how long to try again: 0 where that would not help.
func explained(err error) (reason string, wait time.Duration) {
	if status.Code(err) == codes.Unavailable {
		reason, wait = "no connection", time.Second // unless the server says more
	}
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			reason = detail.GetReason()
		case *errdetails.RetryInfo:
			wait = detail.GetRetryDelay().AsDuration()
		}
	}
	return reason, wait
}

func pointAt(latitude, longitude float64) *spatial.Probe {
	point := &latlng.LatLng{Latitude: latitude, Longitude: longitude}
	return &spatial.Probe{Source: &spatial.Probe_Point{Point: point}}
}
