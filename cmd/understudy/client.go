package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/configs"
)

// socketFlags finds the control socket of the daemon that a command talks to.
type socketFlags struct {
	socket, config string
	timeout        time.Duration // 0: callTimeout
}

func (f *socketFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.socket, "socket", "", "control socket of the daemon (default: the one that the configuration names)")
	cmd.Flags().StringVar(&f.config, "config", defaultConfig, "configuration file of the daemon")
}

// path returns the socket: the one that was asked for, or the configuration's,
// errors elsewhere in it or not, since these are what a reload is refused for.
// Where there is no default configuration, or this user cannot read it, it is
// the default.
func (f *socketFlags) path() (string, error) {
	if f.socket != "" {
		return f.socket, nil
	}
	if c, err := configs.Load(f.config); err == nil {
		return c.Socket, nil
	}
	var file struct {
		Director struct {
			API struct{ Socket string }
		}
	}
	_, err := toml.DecodeFile(f.config, &file)
	switch {
	case err == nil:
		return cmp.Or(file.Director.API.Socket, configs.DefaultSocket), nil
	case f.config == defaultConfig && (errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission)):
		return configs.DefaultSocket, nil
	}
	return "", fmt.Errorf("cannot tell the control socket from %s (%w); name it with --socket", f.config, err)
}

// call asks the daemon for path.
func (f *socketFlags) call(ctx context.Context, method, path string) ([]byte, error) {
	return f.send(ctx, method, path, nil)
}

// send sends body to path and returns the daemon's answer.
func (f *socketFlags) send(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	socket, err := f.path()
	if err != nil {
		return nil, err
	}
	return call(ctx, socket, method, path, body, f.timeout)
}

func statusCommand() *cobra.Command {
	var flags socketFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the running daemon does and why",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			body, err := flags.call(cmd.Context(), http.MethodGet, statusPath)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := cmd.OutOrStdout().Write(body)
				return err
			}
			var s statusReply
			if err := json.Unmarshal(body, &s); err != nil {
				return fmt.Errorf("decode the daemon's status: %w", err)
			}
			return writeStatus(cmd.OutOrStdout(), s)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func reloadCommand() *cobra.Command {
	var flags socketFlags
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Make the running daemon read its configuration again",
		Long: `Make the running daemon read its configuration again, as SIGHUP does.

A configuration with an error is refused whole: every problem is printed, the
exit status is 1, and the daemon goes on with what it had. What did not change
is not touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := flags.call(cmd.Context(), http.MethodPost, reloadPath)
			return err
		},
	}
	flags.register(cmd)
	return cmd
}

func traceCommand() *cobra.Command {
	var flags socketFlags
	cmd := &cobra.Command{
		Use:   "trace NAME",
		Short: "Print the flight recorder of a virtual router",
		Long: `Print the flight recorder of a virtual router: the last few hundred events with
what the election decided on each, in the form that the simulator replays.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := flags.call(cmd.Context(), http.MethodGet, tracePath+"?router="+url.QueryEscape(args[0]))
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(body)
			return err
		},
	}
	flags.register(cmd)
	return cmd
}
