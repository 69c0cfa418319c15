package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
)

func runCommand() *cobra.Command {
	var file string
	var supervised bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon in the foreground",
		Long: `Run the daemon in the foreground.

SIGHUP (or "understudy reload") reads the configuration again. SIGTERM and
SIGINT stop it cleanly: a master says farewell, so that a peer takes over at
once, and the addresses and IPVS services that are ours are removed. A daemon
that is killed leaves them all in the kernel, and the next start adopts them: one
that was master goes on as master if no peer can have taken over meanwhile.

With --supervise the daemon is a child process that is started again at once when
it ends of its own accord. Under systemd that is what the unit does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if supervised {
				return supervise(file)
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			// Whoever reads the log may go away, which is no reason to end.
			signal.Ignore(syscall.SIGPIPE)
			// From the beginning: the default for SIGHUP is to end the process.
			hangups := make(chan os.Signal, 1)
			signal.Notify(hangups, syscall.SIGHUP)
			defer signal.Stop(hangups)
			return runDaemon(ctx, file, hangups)
		},
	}
	cmd.Flags().StringVar(&file, "config", defaultConfig, "configuration file")
	cmd.Flags().BoolVar(&supervised, "supervise", false, "start the daemon again whenever it ends of its own accord")
	return cmd
}

// runDaemon runs the daemon until ctx ends or it cannot go on; each hangup is a
// reload.
func runDaemon(ctx context.Context, file string, hangups <-chan os.Signal) error {
	h := inherited()
	err := direct(ctx, file, hangups, h)
	if errors.Is(err, errReplaced) {
		return nil
	}
	if err != nil {
		h.refuse(err) // unless it has taken over already
	}
	return err
}

// direct is runDaemon with what the process before this one has left.
func direct(ctx context.Context, file string, hangups <-chan os.Signal, h *inheritance) error {
	config, err := configs.Load(file)
	if err != nil {
		return refusal(file, err)
	}
	level := new(slog.LevelVar)
	level.Set(config.Log.Level)
	spool := newSpool()
	log := newLogger(spool, config, level)
	go spool.run(os.Stderr, func(lines uint64) {
		newLogger(os.Stderr, config, level).Warn("log too slow, lines lost", "lines", lines)
	})
	defer spool.close()
	for _, w := range config.Warnings {
		log.Warn(w.String())
	}
	var socket *control
	if h.succeeds() {
		socket, err = inheritControl(config.Socket, h)
	} else {
		socket, err = listenControl(config.Socket)
	}
	if err != nil {
		return err
	}
	defer socket.Close()
	claim, err := h.claim()
	switch {
	case errors.Is(err, errStranger):
		log.Warn("no protection against a second director here", "err", err)
	case err != nil:
		return err
	default:
		defer claim.Close()
	}
	d, err := newDaemon(file, config, log, level, h)
	if err != nil {
		return err
	}
	d.control, d.claim = socket, claim
	return d.run(ctx, socket, hangups)
}

// refusal is the error for a configuration that cannot be used. Problems are
// printed as they are: each has its file and line.
func refusal(file string, err error) error {
	var problems configs.Problems
	if errors.As(err, &problems) {
		return fmt.Errorf("%s cannot be used:\n%w", file, err)
	}
	return err
}

func newLogger(w io.Writer, c *configs.Config, level slog.Leveler) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if os.Getenv("JOURNAL_STREAM") != "" { // the journal has its own clock
		options.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	if c.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// tellManager tells the service manager, if there is one; it is never worth more
// than a line in the log.
func tellManager(log *slog.Logger, state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		log.Warn("service manager not told", "state", state, "err", err)
	}
}
