package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/spf13/cobra"

	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/setup"
)

// loadConfig reads the configuration that --config names.
func (e *env) loadConfig() (*config.Config, error) {
	c, err := config.Load(e.config)
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return c, nil
}

// warnings tells what of a configuration has no effect.
func (e *env) warnings(c *config.Config) {
	for _, w := range c.Warnings() {
		e.hint("warning: %s\n", oneLine(w.Error()))
	}
}

func (e *env) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "serve", Short: "Run the configured services", Args: noArgs,
		Long: `Run the configured services until SIGTERM or Ctrl-C.

One line "ready SERVICE ADDRESS" for each listener goes to stderr when all of them accept; endpoints.json beside the
database then tells scripts where they are. Sessions under way are finished before the end, for at most 4 seconds.

SIGHUP reads the configuration anew, as callsign reload does; the log says what came of it.`,
		Example: "  callsign serve --config lab/callsign.toml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			if err := c.CheckFiles(); err != nil { // all that is missing at once
				return &exitError{code: exitUsage, err: err}
			}
			h, level, err := e.logHandler(c.Log.Level, c.Log.Format)
			if err != nil {
				return err
			}
			if e.logLevel != "" {
				level = nil // the command line wins over log.level, also over a new one
			}
			ctx := cmd.Context()
			e.hint("callsign %s\nconfig %s\ndatabase %s\n", readBuild().Version, c.Path, c.Store.Path)
			e.warnings(c)
			a, err := app.Start(ctx, app.Options{Config: c, Handler: h, Level: level, Load: func() (*config.Config, error) { return config.Load(e.config) }})
			if err != nil {
				return err
			}
			defer reloadOnHangup(ctx, a)()
			for _, r := range a.Ready {
				fmt.Fprintln(e.err, "ready "+r)
			}
			err = a.Wait(ctx)
			if err = errors.Join(err, a.Stop(context.WithoutCancel(ctx))); err != nil {
				return &exitError{code: exitFailed, err: err}
			}
			return nil
		},
	}
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// listenHost reads --listen: HOST, or HOST:0 for free ports.
func listenHost(listen string) (host string, anyPort bool, err error) {
	host, port, splitErr := net.SplitHostPort(listen)
	if splitErr != nil { // no port
		host, port = strings.TrimSuffix(strings.TrimPrefix(listen, "["), "]"), ""
	}
	bad := strings.ToLower(strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"))
	if host == "" || bad != "" && net.ParseIP(host) == nil || splitErr == nil && port != "0" {
		return "", false, usage(fmt.Errorf("--listen %q: use HOST for ports %s and %s on that address, or HOST:0 for free ports", listen, setup.StandardCAPF, setup.StandardEST))
	}
	return host, splitErr == nil, nil
}

func (e *env) initCommand() *cobra.Command {
	var o setup.Options
	var listen string
	cmd := &cobra.Command{
		Use: "init", Short: "Make a configuration with keys and certificates", Args: noArgs,
		Long: `Make a directory with a commented configuration, keys and certificates to start from. Nothing that exists is
overwritten without --force.`,
		Example: `  callsign init --dir lab
  callsign init --dir lab --issuer online-ca --listen 192.0.2.10
  callsign init --dir lab --listen 127.0.0.1:0`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("issuer", or(o.Issuer, " "), config.IssuerLocal, config.IssuerOnlineCA); err != nil {
				return err
			}
			var err error
			if o.Host, o.AnyPort, err = listenHost(listen); err != nil {
				return err
			}
			d, err := setup.New(cmd.Context(), o)
			if err != nil {
				return err
			}
			if e.json {
				todo := d.Todo
				if todo == nil {
					todo = []string{}
				}
				return e.printJSON(struct {
					Config    string   `json:"config"`
					Directory string   `json:"directory"`
					Files     []string `json:"files"`
					Todo      []string `json:"todo"`
					Offline   []string `json:"offline"`
				}{d.Config.Path, d.Config.Dir, d.Files, todo, append([]string{}, d.Offline...)})
			}
			fmt.Fprintf(e.out, "%s\n", d.Config.Path)
			e.hint("wrote %d files to %s: %s\n", len(d.Files), d.Config.Dir, strings.Join(d.Files, ", "))
			for _, key := range d.Offline {
				e.hint("move %s offline: the server never reads it, and only new certificates below it need it\n", shellQuote(key))
			}
			for i, t := range d.Todo {
				e.hint("  %d. %s\n", i+1, t)
			}
			if len(d.Todo) > 0 {
				e.hint("then: callsign check --config %s\n", shellQuote(d.Config.Path))
				return nil
			}
			e.hint("next: callsign serve --config %s\n", shellQuote(d.Config.Path))
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Dir, "dir", ".", "`directory` to make or fill")
	f.StringVar(&o.Issuer, "issuer", config.IssuerLocal, "who signs: local (a CA made here) or online-ca (Microsoft AD CS)")
	f.StringVar(&listen, "listen", "127.0.0.1", "`address`: HOST for the standard ports 3804 and 8084, HOST:0 for free ports")
	f.BoolVar(&o.Force, "force", false, "replace files that exist")
	complete(cmd, "issuer", config.IssuerLocal, config.IssuerOnlineCA)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}
