package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/config"
	"callsign/internal/demo"
	"callsign/internal/explain"
	"callsign/internal/setup"
)

func (e *env) demoCommand() *cobra.Command {
	var o demo.Options
	var once bool
	var behaviour string
	cmd := &cobra.Command{
		Use: "demo", Short: "Run the whole journey of a certificate on loopback", Args: noArgs,
		Long: `Run the whole journey of a certificate on loopback: a simulated AD CS, the registration authority, CAPF, and phones
that each make their own key and enrol over the wire. No root, no internet, no Windows, no phone is needed.

Without --once everything keeps running until Ctrl-C, for you to try commands on. The table of phones goes to stdout,
everything else to stderr.

With --behaviour something is wrong, as it is in the field: the demo then shows which phones have no certificate, why,
and what to do. WORDS are these, with commas between them:

` + wordList(demo.Words()),
		Example: `  callsign demo
  callsign demo --once --json
  callsign demo --phones 50 --dir lab
  callsign demo --issuer local
  callsign demo --behaviour wrong-template
  callsign demo --behaviour deny=0x80094800,lang=fr --once`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("issuer", or(o.Issuer, " "), config.IssuerOnlineCA, config.IssuerLocal); err != nil {
				return err
			}
			if o.Phones < 1 || o.Phones > 1<<20 {
				return usage(fmt.Errorf("--phones %d: use 1 to %d", o.Phones, 1<<20))
			}
			var err error
			if o.Behaviour, err = demo.ParseBehaviour(behaviour); err != nil {
				return badBehaviour(behaviour, err)
			}
			if !o.Behaviour.IsZero() && o.Issuer != config.IssuerOnlineCA {
				return usage(fmt.Errorf("--behaviour concerns AD CS, and with --issuer %s there is none; use --issuer %s", o.Issuer, config.IssuerOnlineCA))
			}
			// The services' own log is shown when it is asked for; a demo tells its story in a few lines.
			if e.logLevel != "" {
				h, _, err := e.logHandler(e.logLevel, e.logForm)
				if err != nil {
					return err
				}
				o.Handler = h
			}
			o.Step = func(line string) { e.hint("%s\n", line) }
			o.Enrolled = e.demoProgress(o.Phones)
			o.Troubled = e.demoTroubled
			ctx := cmd.Context()
			d, err := demo.Start(ctx, o)
			if err != nil {
				return existing(err, o.Dir)
			}
			err = e.showDemo(d)
			if err == nil && !once {
				e.demoCommands(d)
				err = d.Wait(ctx)
			}
			err = errors.Join(err, d.Close(context.WithoutCancel(ctx)))
			switch {
			case err != nil:
				return &exitError{code: exitCode(err), err: err}
			case !once && ctx.Err() != nil:
				e.demoEnded(d, o.Dir != "")
				return &exitError{code: exitInterrupted}
			case d.Report.Issued == d.Report.Phones:
				return nil
			case d.Report.Issued > 0:
				return &exitError{code: exitPartial}
			case d.Report.Failed == 0:
				return &exitError{code: exitPending}
			}
			return &exitError{code: exitFailed}
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Phones, "phones", 5, "how `many` phones")
	f.StringVar(&o.Issuer, "issuer", config.IssuerOnlineCA, "who signs: online-ca (through the RA by a simulated AD CS) or local")
	f.StringVar(&o.Dir, "dir", "", "keep everything in this `directory` (default: a temporary one that goes away)")
	f.BoolVar(&once, "once", false, "end when every phone is done")
	behaviourFlag(cmd, &behaviour, demo.Words())
	complete(cmd, "issuer", config.IssuerOnlineCA, config.IssuerLocal)
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial, exitPending, exitInterrupted)
}

// existing says what to do about a directory that was used before: a demo replaces nothing.
func existing(err error, dir string) error {
	if explain.Code(err) != "setup.exists" {
		return err
	}
	return &setup.Problem{
		ErrCode: "setup.exists", Detail: fmt.Sprintf("the directory %s holds a deployment already, and a demo replaces nothing", dir),
		Fix: "choose another directory with --dir, or remove this one",
	}
}

// demoProgress shows how far the phones are when they take longer than a moment.
func (e *env) demoProgress(total int) func(issued, failed, total int) {
	if e.quiet {
		return nil
	}
	p := e.newProgress("Enrolling", total)
	return func(issued, failed, _ int) { p.show(issued+failed, failed) }
}

func (e *env) showDemo(d *demo.Demo) error {
	r := d.Report
	if e.json {
		return e.printJSON(r)
	}
	rows := make([][]string, 0, len(r.Items))
	for _, p := range r.Items {
		rows = append(rows, []string{p.Name, p.State, or(p.Serial, "-"), or(p.Issuer, "-"), or(dateOf(p.NotAfter), "-"), or(p.RequestID, "-")})
	}
	fmt.Fprintln(e.out)
	if err := table(e.out, []string{"PHONE", "STATE", "SERIAL", "ISSUER", "EXPIRES", "CA REQUEST"}, rows); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "\n%d of %d phones have their certificate, %.1f s.\n", r.Issued, r.Phones, r.Duration)
	e.demoTroubles(r)
	return nil
}

// demoTroubled tells why the registration authority cannot work, before phones fail for it.
func (e *env) demoTroubled(p *demo.Problem) {
	if e.json {
		return // the report has it
	}
	e.hint("\n")
	explain.Render(e.err, p, explain.Options{Color: e.color(e.err)})
	e.hint("\nThe phones call all the same.\n")
}

// demoTroubles tells why phones have no certificate: the same trouble of several phones once.
func (e *env) demoTroubles(r demo.Report) {
	type trouble struct {
		problem *demo.Problem
		names   []string
	}
	var all []*trouble
	for _, p := range r.Items {
		if p.Error == "" {
			continue
		}
		problem := p.Problem
		if problem == nil {
			problem = &demo.Problem{What: p.Name + " has no certificate", Why: p.Error}
		}
		same := slices.IndexFunc(all, func(t *trouble) bool {
			return t.problem.ErrCode == problem.ErrCode && t.problem.Fix == problem.Fix && problem.ErrCode != ""
		})
		if same < 0 {
			all, same = append(all, &trouble{problem: problem}), len(all)
		}
		all[same].names = append(all[same].names, p.Name)
	}
	for _, t := range all {
		fmt.Fprintln(e.err)
		told := *t.problem
		if n := len(t.names); n > 1 {
			told.What = fmt.Sprintf("%d phones have no certificate: %s", n, t.names[0])
			if n > 2 {
				told.What += ", ..."
			} else {
				told.What += ", " + t.names[1]
			}
		}
		explain.Render(e.err, &told, explain.Options{Color: e.color(e.err)})
	}
}

func dateOf(s string) string {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return ""
	}
	return t.Local().Format(time.DateOnly)
}

// demoEnded is the last word after Ctrl-C.
func (e *env) demoEnded(d *demo.Demo, kept bool) {
	fate := "removed"
	if kept {
		fate = "kept"
	}
	e.hint("interrupted: %d of %d phones had their certificate; %s is %s\n", d.Report.Issued, d.Report.Phones, d.Dir, fate)
}

// pendingRequest is the number of a request that the CA keeps.
func pendingRequest(d *demo.Demo) string {
	for _, p := range d.Report.Items {
		if p.State == demo.StatePending {
			return p.RequestID
		}
	}
	return "1"
}

// demoCommands prints what to try next, with the real ports and paths.
func (e *env) demoCommands(d *demo.Demo) {
	self := "callsign"
	if exe, err := os.Executable(); err == nil {
		self = exe
	}
	self = shellQuote(self)
	path := func(names ...string) string { return shellQuote(filepath.Join(append([]string{d.Dir}, names...)...)) }
	conf := path(setup.ConfigFile)
	first := d.Report.Items[0].Name
	next := "SEP00112233FFFF"
	e.hint("\nEverything keeps running in %s until Ctrl-C. In another terminal:\n\n", d.Dir)
	commands := []string{
		self + " phone list --config " + conf,
		self + " phone show " + first + " --config " + conf,
	}
	call := func(name string) string {
		return self + " handset enroll --server " + d.Endpoints.CAPF + " --name " + name + " --ca " + path("capf.pem") + " --out " + path("phones")
	}
	if d.Report.Issued == d.Report.Phones {
		commands = append(commands, self+" phone add "+next+" --operation install --config "+conf, call(next),
			self+" cert inspect "+path("phones", first+".pem"))
	}
	commands = append(commands, self+" check --config "+conf, "tail -n 40 "+path("logs", "capf.txt"))
	if d.Report.Issued < d.Report.Phones {
		commands = append(commands, "tail -n 40 "+path("logs", "nginx.txt")+" "+path("logs", "error.log"))
		if d.Report.Pending > 0 {
			commands = append(commands, "curl -X POST "+d.Manager+"/requests/"+pendingRequest(d)+"/approve")
		}
		if d.Manager != "" { // the CA behaves from then on
			commands = append(commands, "curl -X PUT --data '' "+d.Manager+"/behaviour      # well again, which the RA notices within a minute")
		}
		commands = append(commands, call(first))
	} else {
		commands = append(commands, "curl --cacert "+path(d.Endpoints.ESTCAFile)+" "+d.Endpoints.EST+"/cacerts | openssl base64 -d | openssl pkcs7 -inform der -print_certs -noout")
	}
	for _, l := range commands {
		e.hint("  %s\n", l)
	}
	e.hint("\n")
}
