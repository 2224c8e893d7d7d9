package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/config"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
	"callsign/internal/secret"
)

func (e *env) phoneCommand() *cobra.Command {
	return group("phone", "The phones: add, list, show, set the certificate operation",
		e.phoneAdd(), e.phoneSet(), e.phoneList(), e.phoneShow(), e.phoneImport(), e.phoneExport(), e.phoneStrings())
}

// phoneFlags are the settings that add and set share.
type phoneFlags struct {
	model, auth, stringFile, operation, key string
}

func (p *phoneFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.model, "model", "", "model `number`, e.g. 8865")
	f.StringVar(&p.auth, "auth", "", "authentication `mode`: null or string (default null)")
	f.StringVar(&p.stringFile, "auth-string-file", "", "`file` (mode 0600) that holds the authentication string, 4 to 10 digits")
	f.StringVar(&p.operation, "operation", "", "certificate `operation`: install, delete, troubleshoot or none")
	f.StringVar(&p.key, "key", "", "`key` asked for: rsa:512, rsa:1024, rsa:2048, rsa:3072, rsa:4096, ec:256, ec:384 or ec:521 (default rsa:2048)")
	complete(cmd, "auth", authModes()...)
	complete(cmd, "operation", operations()...)
	complete(cmd, "key", "rsa:512", "rsa:1024", "rsa:2048", "rsa:3072", "rsa:4096", "ec:256", "ec:384", "ec:521")
}

func authModes() []string { return []string{string(fleet.AuthNull), string(fleet.AuthString)} }

func operations() []string {
	return []string{
		string(fleet.OperationInstall), string(fleet.OperationDelete), string(fleet.OperationTroubleshoot), string(fleet.OperationNone),
	}
}

// check refuses words that no record can hold.
func (p *phoneFlags) check() error {
	if err := oneOf("auth", p.auth, authModes()...); err != nil {
		return err
	}
	if err := oneOf("operation", p.operation, operations()...); err != nil {
		return err
	}
	if p.key != "" {
		if _, err := capf.ParseKeySpec(p.key); err != nil {
			return usage(fmt.Errorf("--key: %w", err))
		}
	}
	return nil
}

// apply changes a record as the flags say.
func (p *phoneFlags) apply(d *fleet.Device, str secret.String, now time.Time) error {
	if p.model != "" {
		d.Model = p.model
	}
	if p.auth != "" {
		d.Auth = fleet.AuthMode(p.auth)
	}
	if str.Reveal() != "" {
		d.AuthString, d.WrongTries = capf.Secret(str.Reveal()), 0
		if p.auth == "" {
			d.Auth = fleet.AuthString
		}
	}
	if p.key != "" {
		k, err := capf.ParseKeySpec(p.key)
		if err != nil {
			return usage(err)
		}
		if k.Type == capf.KeyEC {
			d.KeyOrder, d.ECBits = fleet.KeyOrderEC, k.Bits
		} else {
			d.KeyOrder, d.RSABits = fleet.KeyOrderRSA, k.Bits
		}
	}
	if p.operation != "" {
		d.Schedule(fleet.Operation(p.operation), now)
	}
	return d.Validate()
}

func (p *phoneFlags) readString() (secret.String, error) {
	if p.stringFile == "" {
		return secret.String{}, nil
	}
	return readSecret(p.stringFile)
}

// readSecret reads a file that the command line names.
func readSecret(path string) (secret.String, error) {
	s, err := secret.FromFile(path)
	if err != nil {
		return s, &exitError{code: exitUsage, err: err}
	}
	return s, nil
}

func (e *env) phoneAdd() *cobra.Command {
	var p phoneFlags
	cmd := &cobra.Command{
		Use: "add NAME... [flags]", Short: "Add phones; - reads names from stdin", Args: atLeastOne("phone, e.g. SEP001122334455, or - for stdin"),
		Long: `Add phones to the database: all of them, or none when one is there already or cannot be. - reads names from stdin.
The server need not be restarted: it reads a phone's record at each call.`,
		Example: `  callsign phone add SEP001122334455 --model 8865 --operation install
  callsign phone add SEP001122334455 --auth string --auth-string-file pin.txt --operation install
  seq -f 'SEP%012.0f' 1000 | callsign phone add - --operation install`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.check(); err != nil {
				return err
			}
			names, err := e.names(args)
			if err != nil {
				return err
			}
			str, err := p.readString()
			if err != nil {
				return err
			}
			now := time.Now()
			devices := make([]fleet.Device, 0, len(names))
			for _, n := range names {
				d := fleet.NewDevice(n)
				d.Created = now
				if err := p.apply(&d, str, now); err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				devices = append(devices, d)
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				if err := s.Phones.AddDevices(ctx, devices); err != nil {
					if errors.Is(err, fleet.ErrExists) {
						return &fleet.Problem{
							ErrCode: "fleet.exists", Detail: "nothing was added: " + err.Error(),
							Fix: "leave out what is there; to change it: callsign phone set NAME --operation install" + e.configFlag(),
						}
					}
					return err
				}
				if e.json {
					return e.printPhones(devices, len(devices))
				}
				e.hint("added %d phone%s\n", len(devices), plural(len(devices)))
				if p.operation == "" {
					e.hint("no certificate operation is due yet; next: callsign phone set %s --operation install%s\n", devices[0].Name, e.configFlag())
				}
				return nil
			})
		},
	}
	p.register(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) phoneSet() *cobra.Command {
	var p phoneFlags
	cmd := &cobra.Command{
		Use: "set NAME... [flags]", Short: "Set the certificate operation and how a phone authenticates", Args: atLeastOne("phone, or - for stdin"),
		ValidArgsFunction: e.phoneNames(0),
		Long: `Set what is due for phones, and how they authenticate. What no flag names stays as it is. It applies from the phone's
next call on; a session under way ends with what it began with. - reads names from stdin.`,
		Example: `  callsign phone set SEP001122334455 --operation install
  callsign phone set SEP001122334455 --operation delete
  callsign phone set SEP001122334455 --auth-string-file pin.txt`,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := e.names(args)
			if err != nil {
				return err
			}
			if p == (phoneFlags{}) {
				return usage(errors.New("nothing to set: use --operation, --auth, --auth-string-file, --key or --model"))
			}
			if err := p.check(); err != nil {
				return err
			}
			str, err := p.readString()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				var failed []error
				var devices []fleet.Device
				for _, n := range names {
					d, err := s.Phones.UpdateDevice(ctx, n, func(d *fleet.Device) error { return p.apply(d, str, time.Now()) })
					switch {
					case errors.Is(err, fleet.ErrNotFound):
						failed = append(failed, e.unknownPhone(n))
					case err != nil:
						failed = append(failed, err)
					default:
						devices = append(devices, d)
					}
				}
				if e.json {
					if err := e.printPhones(devices, len(devices)); err != nil {
						return err
					}
				} else {
					e.hint("set %d phone%s\n", len(devices), plural(len(devices)))
				}
				err := errors.Join(failed...)
				if err != nil && len(devices) > 0 {
					return &exitError{code: exitPartial, err: err}
				}
				return err
			})
		},
	}
	p.register(cmd)
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

func (e *env) unknownPhone(name string) error {
	return &fleet.Problem{
		ErrCode: "fleet.unknown-device", Detail: fmt.Sprintf("no phone %q is configured", name),
		Fix: "look for it with: callsign phone list" + e.configFlag() + ", or add it with: callsign phone add " + shellQuote(name) + " --operation install" + e.configFlag(),
	}
}

// phoneItem is a phone in JSON.
type phoneItem struct {
	Name      string   `json:"name"`
	Model     string   `json:"model,omitempty"`
	Operation string   `json:"operation"`
	Status    string   `json:"status"`
	Auth      string   `json:"auth"`
	Key       string   `json:"key"`
	LSC       *lscItem `json:"lsc"`
}

type lscItem struct {
	Serial   string `json:"serial"`
	NotAfter string `json:"not_after"`
	Issuer   string `json:"issuer"`
}

func newPhoneItem(d fleet.Device) phoneItem {
	i := phoneItem{Name: d.Name, Model: d.Model, Operation: string(d.Operation), Status: string(d.Status), Auth: string(d.Auth), Key: keyOf(d)}
	if d.LSC != nil {
		i.LSC = &lscItem{Serial: d.LSC.Serial, NotAfter: utc(d.LSC.NotAfter), Issuer: d.LSC.Issuer}
	}
	return i
}

func keyOf(d fleet.Device) string {
	if d.KeyOrder == fleet.KeyOrderEC {
		return fmt.Sprintf("ec:%d", d.ECBits)
	}
	return fmt.Sprintf("rsa:%d", d.RSABits)
}

// printPhones is a list of phones in JSON; total counts also those that are not shown.
func (e *env) printPhones(devices []fleet.Device, total int) error {
	items := make([]phoneItem, 0, len(devices))
	for _, d := range devices {
		items = append(items, newPhoneItem(d))
	}
	return e.printJSON(struct {
		Items []phoneItem `json:"items"`
		Total int         `json:"total"`
	}{items, total})
}

func (e *env) phoneList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the phones", Args: noArgs,
		Example: "  callsign phone list\n  callsign phone list --json --limit 100",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 0 {
				return usage(fmt.Errorf("--limit %d: use 0 for all or a positive number", limit))
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				devices, total, err := s.Phones.Devices(ctx, fleet.Query{Limit: limit})
				if err != nil {
					return err
				}
				if e.json {
					return e.printPhones(devices, total)
				}
				if total == 0 {
					fmt.Fprintln(e.out, "No phones are configured; add one with: callsign phone add SEP001122334455 --operation install"+e.configFlag())
					return nil
				}
				now := time.Now()
				rows := make([][]string, 0, len(devices))
				for _, d := range devices {
					lsc, expires, left := "none", "-", "-"
					if d.LSC != nil {
						lsc, expires, left = "valid", d.LSC.NotAfter.Local().Format(time.DateOnly), in(d.LSC.NotAfter, now)
						if d.LSC.NotAfter.Before(now) {
							lsc = "expired"
						}
					}
					rows = append(rows, []string{d.Name, lsc, expires, left, string(d.Operation), string(d.Status)})
				}
				if err := table(e.out, []string{"PHONE", "LSC", "EXPIRES", "IN", "OPERATION", "STATUS"}, rows); err != nil {
					return err
				}
				if len(devices) < total {
					e.hint("%d of %d shown\n", len(devices), total)
				}
				return nil
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 0, "show at most so `many` (0: all)")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

func (e *env) phoneShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a phone: operation, certificate, and what happened last", Args: exactlyOne("phone"),
		ValidArgsFunction: e.phoneNames(1),
		Example:           "  callsign phone show SEP001122334455\n  callsign phone show SEP001122334455 --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				name := strings.ToUpper(args[0])
				d, err := s.Phones.Device(ctx, name)
				if errors.Is(err, fleet.ErrNotFound) {
					return e.unknownPhone(name)
				}
				if err != nil {
					return err
				}
				rows, err := s.Journal.ByOwner(ctx, fleet.Owner(name))
				if err != nil {
					return err
				}
				return e.showPhone(d, rows)
			})
		},
	}
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// phoneDetail is `phone show --json`.
type phoneDetail struct {
	phoneItem
	Result      string          `json:"result,omitempty"`
	ResultCode  *int            `json:"result_code,omitempty"`
	WrongTries  int             `json:"wrong_strings"`
	Note        *fleet.Note     `json:"note,omitempty"`
	Enrolments  []enrolmentItem `json:"enrolments"`
	Shown       []string        `json:"shown_certificates,omitempty"`
	HasString   bool            `json:"has_auth_string"`
	CompletesBy string          `json:"completes_by,omitempty"`
}

type enrolmentItem struct {
	ID        string          `json:"id"`
	State     string          `json:"state"`
	Authority string          `json:"authority"`
	RequestID string          `json:"request_id"`
	Serial    string          `json:"serial,omitempty"`
	POP       string          `json:"pop,omitempty"`
	Attempts  int             `json:"attempts"`
	Created   string          `json:"created"`
	Updated   string          `json:"updated"`
	Failure   *enroll.Failure `json:"failure,omitempty"`
}

func (e *env) showPhone(d fleet.Device, rows []enroll.Enrolment) error {
	detail := phoneDetail{phoneItem: newPhoneItem(d), WrongTries: d.WrongTries, Note: d.Note, HasString: len(d.AuthString) > 0, Enrolments: []enrolmentItem{}}
	if d.HasResult {
		n := d.Result.Number()
		detail.Result, detail.ResultCode = d.Result.Name(), &n
	}
	if !d.CompletesBy.IsZero() {
		detail.CompletesBy = utc(d.CompletesBy)
	}
	for _, s := range d.Shown {
		detail.Shown = append(detail.Shown, s.Type)
	}
	for _, r := range rows {
		detail.Enrolments = append(detail.Enrolments, enrolmentItem{
			ID: r.ID, State: string(r.State), Authority: r.Authority, RequestID: r.Progress.RequestID, Serial: r.Serial, POP: string(r.POP),
			Attempts: r.Attempts, Created: utc(r.Created), Updated: utc(r.Updated), Failure: r.Failure,
		})
	}
	if e.json {
		return e.printJSON(detail)
	}
	w := e.out
	fmt.Fprintf(w, "%s  %s\n", d.Name, stateSentence(d, rows))
	fmt.Fprintf(w, "  model          %s\n  authentication %s\n  key            %s\n  operation      %s\n  status         %s\n",
		or(d.Model, "-"), d.Auth, keyOf(d), d.Operation, d.Status)
	if d.HasResult {
		fmt.Fprintf(w, "  result         %d %s\n", d.Result.Number(), d.Result.Name())
	}
	if d.LSC != nil {
		fmt.Fprintf(w, "  LSC            serial %s, issuer %s, expires %s (%s)\n", d.LSC.Serial, d.LSC.Issuer, d.LSC.NotAfter.Local().Format("2006-01-02 15:04 MST"), in(d.LSC.NotAfter, time.Now()))
	}
	if d.Note != nil {
		fmt.Fprintf(w, "  last call      %s (%s)\n", d.Note.Detail, d.Note.Code)
		if d.Note.Remedy != "" {
			fmt.Fprintf(w, "  fix            %s\n", d.Note.Remedy)
		}
	}
	for _, r := range rows {
		fmt.Fprintf(w, "  enrolment      %s %s at %s", r.ID[:8], r.State, r.Authority)
		if r.Progress.RequestID != "" {
			fmt.Fprintf(w, ", CA request %s", r.Progress.RequestID)
		}
		if r.POP != "" {
			fmt.Fprintf(w, ", key %s", r.POP)
		}
		fmt.Fprintf(w, ", %s\n", r.Updated.Local().Format(time.DateTime))
		if r.Failure != nil && r.State != enroll.Issued && r.State != enroll.Confirmed {
			fmt.Fprintf(w, "    cause        %s (%s)\n", r.Failure.Detail, r.Failure.Code)
			if r.Failure.Remedy != "" {
				fmt.Fprintf(w, "    fix          %s\n", r.Failure.Remedy)
			}
		}
	}
	return nil
}

// stateSentence says in a few words how a phone stands and what comes next.
func stateSentence(d fleet.Device, rows []enroll.Enrolment) string {
	switch {
	case d.Operation == fleet.OperationInstall && len(rows) > 0 && rows[0].State == enroll.Pending:
		return "waits for the CA's manager to decide request " + rows[0].Progress.RequestID
	case d.Operation == fleet.OperationInstall && len(rows) > 0 && rows[0].State == enroll.Issued:
		return "has a certificate waiting for its next call"
	case d.Operation != fleet.OperationNone && d.Status != fleet.StatusPending:
		return "is locked: " + string(d.Operation) + " is due, but not before a new string is set"
	case d.Operation != fleet.OperationNone:
		return "is to " + string(d.Operation) + " at its next call"
	case d.LSC != nil:
		return "has its certificate"
	case d.HasResult && d.Result != capf.ResultSuccess:
		return "has no certificate: the last operation failed"
	default:
		return "has no certificate and nothing to do"
	}
}

// names are the arguments, with - replaced by the words of stdin, in capitals and each once.
func (e *env) names(args []string) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	add := func(name string) {
		if name = strings.ToUpper(name); !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, a := range args {
		if a != "-" {
			add(a)
			continue
		}
		sc := bufio.NewScanner(e.in)
		sc.Split(bufio.ScanWords)
		for sc.Scan() {
			add(sc.Text())
		}
		if err := sc.Err(); err != nil {
			return nil, fmt.Errorf("read names from stdin: %w", err)
		}
	}
	if len(names) == 0 {
		return nil, usage(errors.New("stdin names no phone; write one name a line"))
	}
	return names, nil
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// configFlag repeats --config in a command to copy, when it is not the default.
func (e *env) configFlag() string {
	if e.config == "callsign.toml" {
		return ""
	}
	return " --config " + shellQuote(e.config)
}

// completeWithin bounds how long a shell waits for names.
const completeWithin = 500 * time.Millisecond

// phoneNames completes the names of phones, at most limit of them (0: any number).
func (e *env) phoneNames(limit int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var names []cobra.Completion
		c, err := config.Load(e.config)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if _, err := os.Stat(c.Store.Path); err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp // completing a word makes no database
		}
		// What goes wrong here shows when the command runs.
		_ = e.withStore(ctx, func(ctx context.Context, s *app.Records) error {
			devices, _, err := s.Phones.Devices(ctx, fleet.Query{})
			for _, d := range devices {
				if strings.HasPrefix(d.Name, strings.ToUpper(prefix)) && !slices.Contains(args, d.Name) {
					names = append(names, cobra.CompletionWithDesc(d.Name, stateSentence(d, nil)))
				}
			}
			return err
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// withStore opens the records named by the configuration for one command.
func (e *env) withStore(ctx context.Context, do func(context.Context, *app.Records) error) error {
	c, err := e.loadConfig()
	if err != nil {
		return err
	}
	r, err := app.OpenRecords(ctx, c)
	if err != nil {
		return err
	}
	err = do(ctx, r)
	if closed := r.Close(); closed != nil {
		return errors.Join(err, closed)
	}
	return err // as it is, with the exit code that it chose
}
