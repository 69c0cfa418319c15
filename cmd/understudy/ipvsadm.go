package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/spf13/cobra"

	"github.com/understudy-ha/understudy/cmd/understudy/ipvsadm"
	"github.com/understudy-ha/understudy/director/ipvs/genl"
)

const (
	ownerPatience  = time.Second      // with a daemon that is asked what it owns
	modulePatience = 10 * time.Second // with modprobe
)

// ipvsadmCommand is ipvsadm. It leaves all options to the package, so there is
// no --socket: the daemon whose services are named is the one of the default
// configuration.
func ipvsadmCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "ipvsadm",
		Short:              "Look at and change the kernel's table with the options of ipvsadm",
		Long:               `Look at and change the kernel's table with the options of ipvsadm: "understudy ipvsadm -h" lists them.`,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := ipvsadm.Program{
				Names: ipvsadm.SystemNames(),
				Open:  openIPVS,
				Owner: func(ctx context.Context) *ipvsadm.Owner {
					return tableOwner(ctx, socketFlags{config: defaultConfig})
				},
				Stdin:  cmd.InOrStdin(),
				Stdout: cmd.OutOrStdout(),
				Stderr: cmd.ErrOrStderr(),
			}
			return p.Run(cmd.Context(), args)
		},
	}
}

// exitStatus is that of a command which ended with err: 1, but for ipvsadm,
// whose callers may know its statuses.
func exitStatus(err error) int {
	if e, ok := errors.AsType[*ipvsadm.Error](err); ok {
		return e.Status
	}
	return 1
}

// openIPVS opens the kernel's table, and loads ip_vs first if it is missing, as
// ipvsadm does.
func openIPVS() (ipvsadm.Kernel, error) {
	c, err := genl.Open()
	if errors.Is(err, genl.ErrMissing) && os.Geteuid() == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), modulePatience)
		defer cancel()
		// Whether it worked is told by the second try.
		_ = exec.CommandContext(ctx, "modprobe", "ip_vs").Run()
		c, err = genl.Open()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// tableOwner asks the daemon, if one runs, what it keeps in the table. It is a
// courtesy: where there is no answer, there is nothing to say.
func tableOwner(ctx context.Context, flags socketFlags) *ipvsadm.Owner {
	ctx, cancel := context.WithTimeout(ctx, ownerPatience)
	defer cancel()
	body, err := flags.call(ctx, http.MethodGet, statusPath)
	if err != nil {
		return nil
	}
	var s statusReply
	if err := json.Unmarshal(body, &s); err != nil {
		return nil
	}
	owner := &ipvsadm.Owner{Config: s.Config, Exclusive: s.Exclusive}
	for _, service := range s.Services {
		owner.Services = append(owner.Services, service.Service)
	}
	return owner
}
