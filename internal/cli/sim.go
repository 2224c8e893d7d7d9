package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"callsign/internal/demo"
	"callsign/internal/enterprise"
	"callsign/internal/secret"
)

func (e *env) simCommand() *cobra.Command {
	return group("sim", "Simulated servers to practise on and to test other clients with", e.simADCS())
}

// simFlags are the flags of sim adcs.
type simFlags struct {
	o                    enterprise.Options
	behaviour            string
	passwordFile, keytab string
	templates            []string
}

func (e *env) simADCS() *cobra.Command {
	var s simFlags
	cmd := &cobra.Command{
		Use: "adcs", Short: "Run a simulated AD CS web enrollment server", Args: noArgs,
		Long: `Run a simulated server of Active Directory Certificate Services Web Enrollment: the pages under /certsrv with a CA of
their own, logins by NTLM, Basic and, with a keytab, Kerberos, channel bindings, pending requests, renewals, CRLs, and the log of
IIS. It is meant for tests of every client, and it can break in the ways that people report.

A line for each request goes to stdout, and one for what became of a certificate request, because the pages always answer 200; with
--json each is an object, the first one that of the server itself. With --dir the CA, its requests and the account's password stay and come up again; without
it everything is gone at the end. Nothing here is made to be reached by anybody else: it listens on loopback unless told otherwise.

With --behaviour something goes wrong. WORDS are these, with commas between them:

` + wordList(enterprise.Words()),
		Example: `  callsign sim adcs
  callsign sim adcs --dir sim --listen 127.0.0.1:8443 --behaviour slow=12s,pending,lang=fr
  callsign sim adcs --behaviour epa=require --template WebServer --template SubCA --admin 127.0.0.1:8444
  callsign sim adcs --keytab http.keytab --host ca.lab.example --listen 127.0.0.1:443`,
		RunE: func(cmd *cobra.Command, _ []string) error { return e.runSim(cmd.Context(), &s) },
	}
	f := cmd.Flags()
	f.StringVar(&s.o.Listen, "listen", "127.0.0.1:8443", "`HOST:PORT` to listen on; port 0 takes a free one")
	f.StringVar(&s.o.Host, "host", "", "`name` of the web server in its URL and certificate (default: the address)")
	f.StringVar(&s.o.Dir, "dir", "", "keep everything in this `directory` (default: a temporary one that goes away)")
	behaviourFlag(cmd, &s.behaviour, enterprise.Words())
	f.StringArrayVar(&s.templates, "template", nil, "`name` of a template, repeatable; WebServer, EnrollmentAgent and SubCA are what AD CS ships (default "+enterprise.DefaultTemplate+")")
	f.StringVar(&s.o.Account, "user", enterprise.DefaultAccount, "the `account` that may log in, DOMAIN\\user")
	f.StringVar(&s.passwordFile, "password-file", "", "`file` with its password as the only line (default: one is made)")
	f.StringVar(&s.keytab, "keytab", "", "keytab `file` of HTTP/host, for logins by Kerberos")
	f.StringVar(&s.o.Admin, "admin", "", "loopback `HOST:PORT` for the CA's manager: approve, deny, change the behaviour")
	f.IntVar(&s.o.FirstRequestID, "first-request-id", 1, "`number` of the first request of a new CA")
	f.IntVar(&s.o.Renewals, "renewals", 0, "how `often` the CA was renewed, 0 to 31; every other time with a new key")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitInterrupted)
}

func (e *env) runSim(ctx context.Context, s *simFlags) error {
	if err := e.simOptions(s); err != nil {
		return err
	}
	story := &simStory{out: e.out, json: e.json}
	if !e.quiet || e.json {
		s.o.IISLog = story
		s.o.Log = slog.New(slog.NewMultiHandler(s.o.Log.Handler(), simOutcomes{story: story}))
	}
	sim, err := enterprise.Start(ctx, s.o)
	if err != nil {
		return simError(err)
	}
	if err = e.simFacts(sim); err == nil {
		err = sim.Wait(ctx)
	}
	// The inspection goes on working after the end, the directory does not.
	summary := sim.Summary()
	err = errors.Join(err, sim.Close())
	if err != nil {
		return &exitError{code: exitFailed, err: err}
	}
	e.hint("\nended: %s\n", summary)
	if s.o.Dir != "" {
		e.hint("CA, requests and log are kept in %s: the same command goes on with them\n", sim.Dir)
	}
	return &exitError{code: exitInterrupted}
}

// simOptions reads what the flags name.
func (e *env) simOptions(s *simFlags) error {
	b, others, err := enterprise.ParseBehaviour(s.behaviour, demo.OwnWords()...)
	if err == nil && len(others) > 0 {
		return usage(fmt.Errorf("--behaviour %s: %s is a mistake of a registration authority, and here is none: use it with callsign demo", s.behaviour, others[0]))
	}
	if err != nil {
		// Those of the demo would be no help.
		_, _, err = enterprise.ParseBehaviour(s.behaviour)
		return badBehaviour(s.behaviour, err)
	}
	s.o.Behaviour = b
	if !strings.Contains(s.o.Account, `\`) {
		return usage(fmt.Errorf(`--user %q: write the account as DOMAIN\user`, s.o.Account))
	}
	if s.o.FirstRequestID < 1 {
		return usage(fmt.Errorf("--first-request-id %d: request ids begin with 1 or more", s.o.FirstRequestID))
	}
	if s.o.Renewals < 0 || s.o.Renewals > 31 {
		return usage(fmt.Errorf("--renewals %d: use 0 to 31", s.o.Renewals))
	}
	host, port, err := net.SplitHostPort(s.o.Listen)
	if _, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil {
		return usage(fmt.Errorf("--listen %q: use HOST:PORT, such as 127.0.0.1:8443", s.o.Listen))
	}
	if !enterprise.Loopback(host) {
		e.hint("warning: everybody who reaches %s can talk to this server; it is made for tests\n", s.o.Listen)
	}
	if host, _, err := net.SplitHostPort(s.o.Admin); s.o.Admin != "" && (err != nil || !enterprise.Loopback(host)) {
		return usage(fmt.Errorf("--admin %q: use HOST:PORT of loopback, such as 127.0.0.1:8444: it has no login", s.o.Admin))
	}
	s.o.Templates = s.templates
	if s.passwordFile != "" {
		if s.o.Password, err = secret.FromFile(s.passwordFile); err != nil {
			return err
		}
	}
	if s.keytab != "" {
		if s.o.Keytab, err = secret.BytesFromFile(s.keytab); err != nil {
			return err
		}
	}
	s.o.Log = slog.New(slog.DiscardHandler)
	if e.logLevel != "" {
		h, _, err := e.logHandler(e.logLevel, e.logForm)
		if err != nil {
			return err
		}
		s.o.Log = slog.New(h)
	}
	return nil
}

// simError gives what is wrong with flags the exit code of wrong flags.
func simError(err error) error {
	if p, ok := errors.AsType[*enterprise.Problem](err); ok && (p.ErrCode == enterprise.CodeTemplate || p.ErrCode == enterprise.CodeBehaviour || p.ErrCode == enterprise.CodeDirectory) {
		return &exitError{code: exitUsage, err: err}
	}
	return err
}

// simServer is the first object in JSON.
type simServer struct {
	Event        string   `json:"event"` // "ready"
	URL          string   `json:"url"`
	CAFile       string   `json:"ca_file"`
	User         string   `json:"user"`
	PasswordFile string   `json:"password_file"` // empty: the one that was named
	Templates    []string `json:"templates"`
	LogDir       string   `json:"log_directory"`
	Manager      string   `json:"manager_url"` // empty without --admin
}

// simFacts says what a client needs, and what to try.
func (e *env) simFacts(sim *enterprise.Enterprise) error {
	facts := simServer{
		Event: "ready", URL: sim.URL, CAFile: sim.Path(enterprise.CAFile), User: sim.Account, PasswordFile: sim.PasswordFile,
		Templates: sim.Templates, LogDir: sim.LogDir, Manager: sim.Manager,
	}
	if e.json {
		return json.NewEncoder(e.out).Encode(facts)
	}
	for _, f := range [][2]string{
		{"pages", facts.URL},
		{"trust", facts.CAFile},
		{"account", facts.User},
		{"password file", or(facts.PasswordFile, "the one that was named")},
		{"templates", or(strings.Join(facts.Templates, ", "), "none: a standalone CA")},
		{"IIS log", facts.LogDir},
	} {
		e.hint("%-14s %s\n", f[0], f[1])
	}
	if facts.Manager != "" {
		e.hint("%-14s %s/requests\n", "manager", facts.Manager)
	}
	trust, base := shellQuote(facts.CAFile), strings.TrimSuffix(sim.URL, "/certsrv")
	e.hint("\nTry:\n")
	e.hint("  curl --cacert %s --ntlm -u %s %s/certsrv/certcarc.asp      # it asks for the password\n", trust, shellQuote(sim.Account), base)
	e.hint("  openssl s_client -connect %s -CAfile %s </dev/null\n", strings.TrimPrefix(base, "https://"), trust)
	if facts.Manager != "" {
		e.hint("  curl -X PUT --data 'deny=0x80094800' %s/behaviour\n", facts.Manager)
		e.hint("  curl -X POST %s/requests/1/approve      # of a request that is pending\n", facts.Manager)
	}
	e.hint("\n")
	fmt.Fprintf(e.err, "ready web enrollment %s\n", sim.URL)
	return nil
}

// simStory tells what happens, a line at a time.
type simStory struct {
	out  io.Writer
	json bool
	mu   sync.Mutex
}

// simRequest is an HTTP request in JSON, from a line of IIS's log.
type simRequest struct {
	Event     string  `json:"event"` // "request"
	Time      string  `json:"time"`
	User      string  `json:"user"`
	Method    string  `json:"method"`
	Path      string  `json:"path"`
	Query     string  `json:"query"`
	Status    int     `json:"status"`
	Substatus int     `json:"substatus"`
	Win32     uint32  `json:"win32"`
	Agent     string  `json:"user_agent"`
	Seconds   float64 `json:"duration_seconds"`
}

// simOutcome is what became of a certificate request in JSON.
type simOutcome struct {
	Event     string `json:"event"` // "outcome"
	Time      string `json:"time"`
	RequestID string `json:"request_id"`
	Outcome   string `json:"outcome"` // "issued", "pending", "denied" or "error"
	By        string `json:"by"`      // "policy" or "manager"
	HResult   string `json:"hresult"` // "0x80094800"; empty when there is none, or the manager has decided
	Template  string `json:"template"`
	Subject   string `json:"subject"`
}

// Write implements io.Writer for the lines of IIS's log. It gets whole lines.
func (l *simStory) Write(p []byte) (int, error) {
	for line := range strings.Lines(string(p)) {
		f := strings.Fields(line)
		if strings.HasPrefix(line, "#") || len(f) != 15 {
			continue
		}
		status, _ := strconv.Atoi(f[11]) // our own server writes numbers
		substatus, _ := strconv.Atoi(f[12])
		win32, _ := strconv.ParseUint(f[13], 10, 32)
		millis, _ := strconv.Atoi(f[14])
		r := simRequest{
			Event: "request", Time: f[0] + "T" + f[1] + "Z", User: dash(f[7]), Method: f[3], Path: f[4], Query: dash(f[5]),
			Status: status, Substatus: substatus, Win32: uint32(win32), Agent: strings.ReplaceAll(dash(f[9]), "+", " "), Seconds: float64(millis) / 1000,
		}
		what := r.Path
		if r.Query != "" {
			what += "?" + r.Query
		}
		code := strconv.Itoa(r.Status)
		if r.Substatus != 0 || r.Win32 != 0 {
			code = fmt.Sprintf("%d.%d %d", r.Status, r.Substatus, r.Win32)
		}
		if err := l.tell(r, "%s  %-20s  %-4s %s  %s  %dms\n", f[1], visible(or(r.User, "-")), visible(r.Method), visible(what), code, millis); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// tell prints an object, or a line of text.
func (l *simStory) tell(object any, format string, args ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.json {
		enc := json.NewEncoder(l.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(object)
	}
	_, err := fmt.Fprintf(l.out, format, args...)
	return err
}

// simOutcomes is a slog.Handler that takes out of the server's log what became of certificate requests: the pages answer 200 in any
// case.
type simOutcomes struct{ story *simStory }

// Enabled implements slog.Handler.
func (simOutcomes) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelInfo }

// WithAttrs implements slog.Handler: the server's events have all of their attributes themselves.
func (s simOutcomes) WithAttrs([]slog.Attr) slog.Handler { return s }

// WithGroup implements slog.Handler.
func (s simOutcomes) WithGroup(string) slog.Handler { return s }

// Handle implements slog.Handler.
func (s simOutcomes) Handle(_ context.Context, r slog.Record) error {
	attr := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		attr[a.Key] = a.Value.String()
		return true
	})
	at := r.Time.UTC()
	o := simOutcome{Event: "outcome", Time: utc(at), RequestID: attr["request_id"], By: "manager", Template: attr["template"], Subject: attr["subject"]}
	switch attr["event"] {
	case enterprise.EventHandled:
		o.Outcome, o.By = attr["outcome"], "policy"
		if code := attr["code"]; code != "0x00000000" {
			o.HResult = code
		}
	case enterprise.EventApproved:
		o.Outcome = "issued"
	case enterprise.EventDenied:
		o.Outcome = "denied"
	default:
		return nil
	}
	said := []string{"request " + o.RequestID + " " + o.Outcome}
	if o.By == "manager" {
		said[0] += " by the manager"
	}
	for _, more := range []string{o.HResult, o.Subject, o.Template} {
		if more != "" {
			said = append(said, visible(more))
		}
	}
	return s.story.tell(o, "%s  %s\n", at.Format(time.TimeOnly), strings.Join(said, "  "))
}

func dash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}
