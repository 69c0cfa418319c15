package ipvs

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/understudy-ha/understudy/configs"
	"github.com/understudy-ha/understudy/director"
	"github.com/understudy-ha/understudy/director/directortest"
)

// TestConfiguredIsListed shows that the table comes to hold what a configuration
// says, and that nothing is found to differ from it afterwards: what List returns
// is spelled as the configuration is. In an exclusive table another spelling would
// be somebody else's service.
func TestConfiguredIsListed(t *testing.T) {
	for _, mode := range []string{"owned", "exclusive"} {
		t.Run(mode, func(t *testing.T) {
			everyKind, err := os.ReadFile("testdata/everykind.toml")
			if err != nil {
				t.Fatal(err)
			}
			c, err := configs.Parse("all.toml", []byte("[director]\nipvs = \""+mode+"\"\n"+string(everyKind)))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				m := &model{family: 28}
				table := newTable(m.system())
				defer table.Close()
				var log bytes.Buffer
				d := director.New(director.Options{
					IPVS:      table,
					Addresses: directortest.NewKernel(true).Process().Addresses(),
					Log:       slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
				})
				d.Set(c.Director)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- d.Run(ctx) }()
				time.Sleep(10 * time.Second)
				synctest.Wait()
				list, err := table.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if want := directortest.Full(c.Director); !maps.Equal(want, list) {
					t.Errorf("the table differs (-want +got):\n%s", cmp.Diff(directortest.FormatEntries(want), directortest.FormatEntries(list)))
				}
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if log.Len() > 0 {
					t.Errorf("there was something to repair:\n%s", log.String())
				}
			})
		})
	}
}
