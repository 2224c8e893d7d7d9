package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"callsign/internal/app"
)

func (e *env) reloadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "reload", Short: "Let the running server read its configuration anew", Args: noArgs,
		Long: `Let the server that runs with this configuration read it anew: certificates, credentials, trust anchors, labels, policies, the log
level and most other keys take effect at once, and files are read again even where no key changed. Connections and requests
under way are not touched. Keys that wait for the next start are listed.

A configuration with a fault changes nothing: the server goes on with what it had, and the faults are printed. The command speaks
to the server through callsign.sock beside the database, as the account that the server runs as, or root.`,
		Example: `  callsign reload
  callsign config validate && callsign reload
  kill -HUP PID                                  the same, without an answer`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			done, err := app.AskReload(cmd.Context(), c)
			if err != nil {
				return err
			}
			e.warnings(c)
			if e.json {
				return e.printJSON(done)
			}
			if len(done.Changed) == 0 {
				fmt.Fprintln(e.out, "reloaded: no key has another value; the files were read again")
			} else {
				fmt.Fprintf(e.out, "reloaded: %s\n", strings.Join(done.Changed, ", "))
			}
			if len(done.Restart) > 0 {
				fmt.Fprintf(e.out, "needs a restart: %s\n", strings.Join(done.Restart, ", "))
			}
			return nil
		},
	}
	return exits(cmd, exitOK, exitFailed, exitUsage, exitUnreachable)
}

// reloadOnHangup reloads at each SIGHUP, until the function that it returns is called. The log has the result.
func reloadOnHangup(ctx context.Context, a *app.App) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range hangup {
			_, _ = a.Reload(ctx) // logged
		}
	}()
	return func() {
		signal.Stop(hangup)
		close(hangup)
		<-done
	}
}
