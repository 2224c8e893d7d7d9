package cli

import (
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/internal/handset"
	"callsign/internal/setup"
)

func (e *env) handsetCommand() *cobra.Command {
	c := group("handset", "The phone side, for tests and load", e.handsetEnroll(), e.handsetLoad())
	c.PersistentPreRunE = func(*cobra.Command, []string) error { return allowShortKeys() }
	return c
}

// allowShortKeys lets this process make and use RSA keys of 512 bits, as the oldest phones have them. The server, which is
// another process, needs no such thing: it only certifies their public halves, where ca.min_rsa_bits says so.
func allowShortKeys() error {
	const setting = "rsa1024min=0"
	if present := os.Getenv("GODEBUG"); present != "" {
		return os.Setenv("GODEBUG", present+","+setting)
	}
	return os.Setenv("GODEBUG", setting)
}

// enrolled is `handset enroll --json`.
type enrolled struct {
	Name        string  `json:"name"`
	Operation   string  `json:"operation"`
	Reason      int     `json:"reason"`
	Session     uint32  `json:"session"`
	Calls       int     `json:"calls"`
	Serial      string  `json:"serial,omitempty"`
	Issuer      string  `json:"issuer,omitempty"`
	NotAfter    string  `json:"not_after,omitempty"`
	Certificate string  `json:"certificate,omitempty"`
	Key         string  `json:"key,omitempty"`
	Misbehaved  string  `json:"misbehaved,omitempty"` // message that was answered as --operation-answer says
	Ended       bool    `json:"ended"`                // END_SESSION came; reason is its reason
	Duration    float64 `json:"duration_seconds"`
}

func (e *env) handsetEnroll() *cobra.Command {
	var (
		p                 handset.Phone
		stringFile, caPEM string
		key               string
		protocol          uint8
		credential        credential
		answer            string
	)
	cmd := &cobra.Command{
		Use: "enroll", Short: "Call a CAPF server as one phone", Args: noArgs,
		Long: `Call a CAPF server as one phone and do what it asks for: make a key and store the certificate, show it, or delete it.
Key and certificate are kept in --out as NAME.key and NAME.pem; a key is kept until its certificate is stored.

The phone authenticates by authentication string or null string, or by a certificate: --lsc or --mic. With --sudi it also
makes SUDI data, which bind the session to the MIC (to the LSC when there is no --mic); with all three it shows the LSC and
makes the SUDI data with the MIC.

--operation-answer makes a bad phone, to see what the server makes of it: refuse (answers with reason 7), vanish (closes the
connection), silent (says nothing more), abort (asks to abort) or garbage (answers nonsense), at the message that decides the
operation or at the one that is named: refuse-key, refuse-ec (only EC keys), vanish-hello, vanish-store and so on. The exit
code is 0 when the phone has behaved so.`,
		Example: `  callsign handset enroll --server 127.0.0.1:3804 --name SEP001122334455
  callsign handset enroll --server 127.0.0.1:3804 --name SEP001122334455 --auth-string-file pin.txt --out phones
  callsign handset enroll --server 127.0.0.1:3804 --name SEP001122334455 --lsc phones/SEP001122334455.pem --out phones
  callsign handset enroll --server 127.0.0.1:3804 --name SEP001122334455 --operation-answer vanish-store`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.Server == "" || p.Name == "" {
				return usage(errors.New("--server HOST:PORT and --name NAME are needed"))
			}
			var err error
			if p.Server, err = serverAddress(p.Server); err != nil {
				return err
			}
			p.Name = strings.ToUpper(p.Name)
			if protocol != 2 && protocol != 3 {
				return usage(fmt.Errorf("--protocol %d: use 2 or 3", protocol))
			}
			p.Version = protocol
			if key != "" {
				if p.Key, err = capf.ParseKeySpec(key); err != nil {
					return usage(fmt.Errorf("--key: %w", err))
				}
			}
			if stringFile != "" {
				s, err := readSecret(stringFile)
				if err != nil {
					return err
				}
				p.String = capf.Secret(s.Reveal())
			}
			if err := credential.load(&p); err != nil {
				return err
			}
			if p.Answer, err = handset.ParseAnswer(answer); err != nil {
				return usage(fmt.Errorf("--operation-answer: %w", err))
			}
			if p.TLS, err = handset.TLSConfig(caPEM); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			r, err := p.Enroll(cmd.Context())
			if err != nil {
				return err
			}
			return e.printEnrolled(p.Name, p.Answer, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.Server, "server", "", "CAPF server, `HOST:PORT`")
	f.StringVar(&p.Name, "name", "", "device `name`, e.g. SEP001122334455")
	f.StringVar(&stringFile, "auth-string-file", "", "`file` (mode 0600) with the authentication string; default: null string")
	f.StringVar(&credential.lsc, "lsc", "", "authenticate with the LSC in `file`, PEM with its key or with the key beside it as NAME.key")
	f.StringVar(&credential.mic, "mic", "", "authenticate with the MIC in `file`, in the same form")
	f.BoolVar(&credential.sudi, "sudi", false, "make SUDI data, with the MIC or else with the LSC; RSA keys only")
	f.StringVar(&answer, "operation-answer", "", "behave as a bad phone: `answer` refuse, vanish, silent, abort or garbage, alone or with -hello, -key, -ec, -store, -fetch or -delete")
	f.Uint8Var(&protocol, "protocol", 3, "protocol `version`: 2 (soft phones) or 3")
	f.StringVar(&key, "key", "", "make this `key` whatever the server asks for, e.g. rsa:2048 or ec:256 (default: what it asks for)")
	f.StringVar(&p.Dir, "out", ".", "`directory` for NAME.key and NAME.pem")
	f.StringVar(&caPEM, "ca", "", "`file` with the CAPF certificate or its CA; without it the server is not checked, as soft phones do")
	f.IntVar(&p.Retries, "retries", 0, "call again so many `times` after a communication failure (phones: 3)")
	f.DurationVar(&p.RetryInterval, "retry-interval", handset.DefaultRetryInterval, "`time` between two calls")
	f.DurationVar(&p.Timeout, "timeout", capf.DefaultClientTimeout, "how long the server may be silent")
	complete(cmd, "protocol", "2", "3")
	complete(cmd, "operation-answer", handset.Answers()...)
	complete(cmd, "key", "rsa:2048", "ec:256")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitUnreachable, exitDenied)
}

// credential is what a phone authenticates with besides strings.
type credential struct {
	lsc, mic string // files
	sudi     bool
}

// load reads the files into the phone.
func (c credential) load(p *handset.Phone) error {
	switch {
	case c.sudi && c.lsc == "" && c.mic == "":
		return usage(errors.New("--sudi needs --mic FILE or --lsc FILE to make the SUDI data with"))
	case c.lsc != "" && c.mic != "" && !c.sudi:
		return usage(errors.New("--lsc and --mic exclude each other: a phone shows one certificate; with --sudi it shows the LSC and makes SUDI data with the MIC"))
	}
	var err error
	if c.mic != "" {
		if p.Identity, err = handset.LoadIdentity(c.mic, capf.CertificateMIC); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
		p.SUDI = p.Identity
	}
	if c.lsc != "" {
		if p.Identity, err = handset.LoadIdentity(c.lsc, capf.CertificateLSC); err != nil {
			return &exitError{code: exitUsage, err: err}
		}
	}
	switch {
	case !c.sudi:
		p.SUDI = nil
	case p.SUDI == nil:
		p.SUDI = p.Identity
	}
	if p.SUDI == nil {
		return nil
	}
	if _, ok := p.SUDI.Key.Public().(*rsa.PublicKey); !ok {
		return usage(errors.New("--sudi needs an RSA key: SUDI data with other keys is not defined"))
	}
	return nil
}

func (e *env) printEnrolled(name string, answer handset.Answer, r handset.Result) error {
	v := enrolled{
		Name: name, Operation: r.Operation.String(), Reason: int(r.Reason), Session: r.Session, Calls: r.Calls, Ended: r.Ended,
		Duration: r.Duration.Seconds(),
	}
	if r.Misbehaved != 0 {
		v.Misbehaved = r.Misbehaved.String()
	}
	if c := r.Certificate; c != nil {
		v.Serial, v.Issuer, v.NotAfter = hex.EncodeToString(c.SerialNumber.Bytes()), c.Issuer.String(), utc(c.NotAfter)
		v.Certificate, v.Key = r.CertificatePath, r.KeyPath
	}
	if e.json {
		return e.printJSON(v)
	}
	if r.Misbehaved != 0 {
		fmt.Fprintf(e.out, "%s answered %v as asked: %v\n", name, r.Misbehaved, answer)
	} else if answer.Conduct != "" {
		e.hint("the server never came to the message for --operation-answer %v\n", answer)
	}
	switch {
	case r.Certificate != nil:
		fmt.Fprintf(e.out, "%s has its certificate: serial %s, issuer %s, expires %s\n  certificate  %s\n  key          %s\n",
			name, v.Serial, v.Issuer, r.Certificate.NotAfter.Local().Format(time.DateOnly), v.Certificate, v.Key)
	case r.Misbehaved != 0 && r.Ended:
		fmt.Fprintf(e.out, "%s: the server ended the session with reason %d (%v)\n", name, uint8(r.Reason), r.Reason)
	case r.Misbehaved != 0:
		fmt.Fprintf(e.out, "%s: the connection was closed without an end of the session\n", name)
	case r.Operation == capf.OperationNone:
		fmt.Fprintf(e.out, "%s: the server has no operation for this phone\n", name)
		e.hint("schedule one on the server: callsign phone set %s --operation install\n", shellQuote(name))
	case r.Operation == capf.OperationDelete && r.Deleted:
		fmt.Fprintf(e.out, "%s: the certificate was deleted\n", name)
	case r.Operation == capf.OperationDelete:
		fmt.Fprintf(e.out, "%s: there was no certificate to delete\n", name)
	case r.Operation == capf.OperationTroubleshoot:
		fmt.Fprintf(e.out, "%s: %d certificate%s shown to the server\n", name, r.Shown, plural(r.Shown))
	default:
		fmt.Fprintf(e.out, "%s: session ended with reason %d\n", name, r.Reason)
	}
	return nil
}

func (e *env) handsetLoad() *cobra.Command {
	var (
		c                      handset.LoadConfig
		caPEM, key, stringFile string
	)
	cmd := &cobra.Command{
		Use: "load", Short: "Call a CAPF server as many phones and measure", Args: noArgs,
		Long: `Call a CAPF server as many phones at once. The names count up in hexadecimal from --first and must be known to the
server, with an install due. Keys are made before the clock starts.`,
		Example: `  callsign handset load --server 127.0.0.1:3804 --count 1000 --concurrency 16 --key ec:256 --json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if c.Server == "" || c.Count <= 0 {
				return usage(errors.New("--server HOST:PORT and --count N (at least 1) are needed"))
			}
			if c.Concurrency < 1 {
				return usage(fmt.Errorf("--concurrency %d: use 1 or more", c.Concurrency))
			}
			if c.Silent < 0 {
				return usage(fmt.Errorf("--silent %d: use 0 or more", c.Silent))
			}
			var err error
			if c.Server, err = serverAddress(c.Server); err != nil {
				return err
			}
			if c.Key, err = capf.ParseKeySpec(key); err != nil {
				return usage(fmt.Errorf("--key: %w", err))
			}
			c.First = strings.ToUpper(c.First)
			if _, err := handset.Names(c.First, c.Count); err != nil {
				return usage(fmt.Errorf("--first: %w", err))
			}
			if stringFile != "" {
				s, err := readSecret(stringFile)
				if err != nil {
					return err
				}
				c.String = capf.Secret(s.Reveal())
			}
			if c.TLS, err = handset.TLSConfig(caPEM); err != nil {
				return &exitError{code: exitUsage, err: err}
			}
			c.Progress = e.loadProgress()
			r, err := handset.Load(cmd.Context(), c)
			if err != nil && r.Count == 0 {
				return err
			}
			// What an interrupted load has measured is worth reading.
			if err := errors.Join(e.printLoad(r, c.Server), err); err != nil {
				return err
			}
			switch {
			case r.Failed == 0:
				return nil
			case r.OK == 0:
				return &exitError{code: exitFailed}
			default:
				return &exitError{code: exitPartial}
			}
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Server, "server", "", "CAPF server, `HOST:PORT`")
	f.IntVar(&c.Count, "count", 0, "how `many` phones")
	f.IntVar(&c.Concurrency, "concurrency", 16, "how `many` at once")
	f.StringVar(&c.First, "first", handset.DefaultFirst, "first `name`; the others count up in hexadecimal")
	f.IntVar(&c.Silent, "silent", 0, "so `many` connections hang on the server meanwhile and say nothing")
	f.StringVar(&key, "key", "rsa:2048", "`key` of each phone: rsa:2048, ec:256, ...")
	f.DurationVar(&c.Timeout, "timeout", capf.DefaultClientTimeout, "how long the server may be silent")
	f.StringVar(&stringFile, "auth-string-file", "", "`file` (mode 0600) with the authentication string of all; default: null string")
	f.StringVar(&caPEM, "ca", "", "`file` with the CAPF certificate or its CA; without it the server is not checked")
	complete(cmd, "key", "rsa:2048", "ec:256")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial, exitInterrupted)
}

// serverAddress is a server with its port: that of CAPF when none is given.
func serverAddress(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), setup.StandardCAPF
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 || host == "" || strings.ContainsAny(host, "/ ") {
		return "", usage(fmt.Errorf("--server %q: use HOST:PORT, for example 127.0.0.1:%s", s, setup.StandardCAPF))
	}
	return net.JoinHostPort(host, port), nil
}

// loadProgress shows how far a load is, stage by stage.
func (e *env) loadProgress() func(handset.Progress) {
	if e.quiet {
		return nil
	}
	var (
		shown *progress
		stage handset.Stage
	)
	return func(p handset.Progress) {
		if p.Stage != stage {
			stage = p.Stage
			shown = e.newProgress(map[handset.Stage]string{handset.Preparing: "Making keys", handset.Calling: "Enrolling"}[p.Stage], p.Total)
		}
		shown.show(p.Done, p.Failed)
	}
}

func (e *env) printLoad(r handset.LoadReport, server string) error {
	if e.json {
		return e.printJSON(r)
	}
	fmt.Fprintf(e.out, "%d of %d phones enrolled in %.2f s: %.1f/s, p50 %.0f ms, p99 %.0f ms\n",
		r.OK, r.Count, r.DurationSeconds, r.Rate, r.P50Seconds*1000, r.P99Seconds*1000)
	if r.Silent > 0 {
		fmt.Fprintf(e.out, "  %d silent connections hung meanwhile: %d attempts refused, %d closed by the server\n", r.Silent, r.SilentRefused, r.SilentClosed)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.FailedByReason)) {
		fmt.Fprintf(e.out, "  %d failed: %s\n", r.FailedByReason[reason], reason)
	}
	if len(r.FailedNames) > 0 {
		e.hint("first to fail: %s; its reason in full: callsign handset enroll --server %s --name %s --out %s\n",
			r.FailedNames[0], shellQuote(server), r.FailedNames[0], shellQuote(os.TempDir()))
	}
	return nil
}
