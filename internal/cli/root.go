package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/lmittmann/tint"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"callsign/internal/explain"
)

// env is what a command gets of the world.
type env struct {
	in       io.Reader
	out, err io.Writer
	config   string
	logLevel string
	logForm  string
	json     bool
	noColor  bool
	quiet    bool
	lang     langFlag
	cluster  string // of --cluster, repeated in commands to copy
}

// Main runs the command line and returns the exit code.
func Main(args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := interruptible(context.Background())
	defer stop()
	e := &env{in: in, out: out, err: errw}
	root := e.root()
	root.SetArgs(signedCodes(args))
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errw)
	cmd, err := root.ExecuteContextC(ctx)
	return e.report(ctx, cmd, err)
}

// report says on stderr what went wrong, and returns the exit code.
func (e *env) report(ctx context.Context, cmd *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	chosen, ok := errors.AsType[*exitError](err)
	if ok && chosen.err == nil {
		return chosen.code
	}
	o := explain.Options{Color: e.color(e.err), JSON: e.json, Fix: e.toCopy}
	switch {
	case ctx.Err() != nil && !ok:
		fmt.Fprintln(e.err, "interrupted")
		return exitInterrupted
	case isUsage(err) && !e.json:
		fmt.Fprintf(e.err, "error: %s\nsee: %s --help\n", oneLine(err.Error()), cmd.CommandPath())
		return exitUsage
	case isUsage(err):
		explain.Render(e.err, &usageError{err: err, see: cmd.CommandPath()}, o)
		return exitUsage
	}
	explain.Render(e.err, err, o)
	return exitCode(err)
}

// interruptible ends its context at the first SIGINT or SIGTERM; the second one ends the process at once.
func interruptible(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

func (e *env) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "callsign",
		Short: "Certificates for IP phones and EST devices from the enterprise's own CA",
		Long: `Callsign gives IP phones, and every other EST device, certificates from the enterprise's own CA.

It speaks CAPF (TCP 3804) to phones, EST (RFC 7030) to devices, and AD CS web enrollment to the CA.`,
		Example: `  callsign demo                                  the whole journey on loopback, nothing to install
  callsign init --dir lab && callsign serve --config lab/callsign.toml
  callsign cert inspect phone.pem`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          groupRun,
	}
	root.SuggestionsMinimumDistance = 2
	f := root.PersistentFlags()
	f.StringVar(&e.config, "config", envOr("CALLSIGN_CONFIG", "callsign.toml"), "configuration `file`")
	f.StringVar(&e.logLevel, "log-level", os.Getenv("CALLSIGN_LOG_LEVEL"), "log from this `level` on: debug, info, warn or error")
	f.StringVar(&e.logForm, "log-format", os.Getenv("CALLSIGN_LOG_FORMAT"), "`form` of the log: text or json (default: text on a terminal, else json)")
	f.BoolVar(&e.json, "json", false, "print the result as one JSON object")
	f.BoolVar(&e.noColor, "no-color", false, "no colour, even on a terminal")
	f.BoolVarP(&e.quiet, "quiet", "q", false, "no progress and no hints")
	f.Var(&e.lang, "lang", "`language` of explanations: en, ko or fr (default: from the locale)")
	root.SetFlagErrorFunc(flagError)
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(helpTemplate)
	root.AddCommand(e.demoCommand(), e.initCommand(), e.serveCommand(), e.reloadCommand(), e.checkCommand(), e.configCommand(), e.phoneCommand(), e.capfCommand(), e.raCommand(), e.caCommand(), e.simCommand(), e.handsetCommand(), e.estCommand(),
		e.certCommand(), e.clusterCSRCommand(), e.trustCommand(), e.subjectCommand(), e.explainCommand(), e.versionCommand())
	root.InitDefaultHelpFlag()
	root.SetHelpCommand(helpCommand())
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	describeCompletion(root)
	complete(root, "log-level", "debug", "info", "warn", "error")
	complete(root, "log-format", "text", "json")
	complete(root, "lang", langNames()...)
	return exits(root, exitOK, exitFailed, exitUsage, exitFindings, exitPartial, exitUnreachable, exitDenied, exitPending, exitInterrupted)
}

// group is a noun: alone it prints its help, with an unknown verb it says so.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: groupRun,
	}
	c.SuggestionsMinimumDistance = 2
	c.AddCommand(subs...)
	return c
}

func groupRun(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(cmd *cobra.Command, word string) error {
	return usage(fmt.Errorf("%s has no command %q%s", cmd.CommandPath(), word, didYouMean(cmd.SuggestionsFor(word))))
}

// exactlyOne is cobra.ExactArgs(1) in our words.
func exactlyOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usage(fmt.Errorf("name one %s, not %d", what, len(args)))
		}
		return nil
	}
}

func noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("no argument expected, got %q", args[0]))
	}
	return nil
}

func atLeastOne(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usage(fmt.Errorf("name at least one %s", what))
		}
		return nil
	}
}

func envOr(key, def string) string {
	if v := os.Getenv(key); v != "" {
		return v
	}
	return def
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) // #nosec G115 -- file descriptors fit an int
}

func (e *env) color(w any) bool {
	return !e.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

// logHandler makes the handler of the structured log on stderr. level and form come from the configuration; the flags
// win over them.
// The level can be changed while the handler is in use.
func (e *env) logHandler(level, form string) (slog.Handler, *slog.LevelVar, error) {
	level, form = or(e.logLevel, level), or(e.logForm, form)
	l := new(slog.LevelVar)
	if level != "" {
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return nil, nil, usage(fmt.Errorf("log level %q: use debug, info, warn or error", level))
		}
	}
	switch form {
	case "", "auto":
		if !isTerminal(e.err) {
			return slog.NewJSONHandler(e.err, &slog.HandlerOptions{Level: l}), l, nil
		}
	case "json":
		return slog.NewJSONHandler(e.err, &slog.HandlerOptions{Level: l}), l, nil
	case "text":
	default:
		return nil, nil, usage(fmt.Errorf("log format %q: use text or json", form))
	}
	return tint.NewTextHandler(e.err, &tint.Options{Level: l, TimeFormat: "15:04:05", NoColor: !e.color(e.err)}), l, nil
}
