package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/fleet"
	"callsign/internal/secret"
)

// phoneFlags are the settings that add and set share: what was typed, and what it means.
type phoneFlags struct {
	model, description, auth, stringFile, operation, key, keyOrder, rsaBits, ecBits, completesBy string
	noMIC                                                                                        bool

	given func(flag string) bool

	// Made by read.
	str     secret.String
	now     time.Time
	expires time.Duration // of a new operation; 0: no limit
	changes []func(*fleet.Device)
}

// phoneFlagNames are those of the flags that say what a record is to hold.
var phoneFlagNames = []string{
	"operation", "auth", "authentication", "auth-string-file", "key", "key-order", "rsa-bits", "ec-bits", "completes-by", "description", "model", "no-mic",
}

func (p *phoneFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&p.model, "model", "", "model `number`, e.g. 8865")
	f.StringVar(&p.description, "description", "", "`text` for people, e.g. where the phone stands; at most 128 characters")
	f.StringVar(&p.auth, "auth", "", "authentication `mode`: null, string, lsc or mic (default null)")
	f.StringVar(&p.auth, "authentication", "", "the same as --auth `mode`")
	f.StringVar(&p.stringFile, "auth-string-file", "", "`file` (mode 0600) that holds the authentication string, 4 to 10 digits")
	f.StringVar(&p.operation, "operation", "", "certificate `operation`: install, delete, troubleshoot or none")
	f.StringVar(&p.completesBy, "completes-by", "", "`time` by which the operation is to complete: 2027-01-20T12:00:00+01:00, 2027:01:20:12:00 (local) or none (default: in capf.expires_days)")
	f.StringVar(&p.key, "key", "", "`key` asked for: rsa:512, rsa:1024, rsa:2048, rsa:3072, rsa:4096, ec:256, ec:384 or ec:521 (default rsa:2048)")
	f.StringVar(&p.keyOrder, "key-order", "", "`kind` of key: rsa, ec or ec_rsa (EC where the phone can, else RSA)")
	f.StringVar(&p.rsaBits, "rsa-bits", "", "`size` of RSA keys: 512, 1024, 2048, 3072 or 4096")
	f.StringVar(&p.ecBits, "ec-bits", "", "`size` of EC keys: 256, 384 or 521")
	f.BoolVar(&p.noMIC, "no-mic", false, "the phone has no MIC: in mode mic its LSC will do")
	complete(cmd, "auth", words(fleet.AuthModes())...)
	complete(cmd, "authentication", words(fleet.AuthModes())...)
	complete(cmd, "operation", operations()...)
	complete(cmd, "key", "rsa:512", "rsa:1024", "rsa:2048", "rsa:3072", "rsa:4096", "ec:256", "ec:384", "ec:521")
	complete(cmd, "key-order", words(fleet.KeyOrders())...)
	complete(cmd, "rsa-bits", numbers(fleet.RSASizes())...)
	complete(cmd, "ec-bits", numbers(fleet.ECSizes())...)
	complete(cmd, "completes-by", "none")
	p.given = cmd.Flags().Changed
}

// operations are the operations in the order in which people need them.
func operations() []string {
	return []string{
		string(fleet.OperationInstall), string(fleet.OperationDelete), string(fleet.OperationTroubleshoot), string(fleet.OperationNone),
	}
}

func numbers(list []int) []string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = strconv.Itoa(n)
	}
	return texts
}

// anything tells whether there is something to set.
func (p *phoneFlags) anything() bool { return slices.ContainsFunc(phoneFlagNames, p.given) }

// parsed reads the value of a flag in our words or the vendor's, and keeps how it changes a record. With the possible
// values in hand the nearest one to a misspelt word is told.
func parsed[T any](p *phoneFlags, flag, value string, parse func(string) (T, error), possible []string, set func(*fleet.Device, T)) error {
	if !p.given(flag) {
		return nil
	}
	v, err := parse(value)
	if err != nil {
		return wrongValue(flag, value, possible...)
	}
	p.changes = append(p.changes, func(d *fleet.Device) { set(d, v) })
	return nil
}

// read makes sense of the flags: it refuses words that no record can hold.
func (p *phoneFlags) read(now time.Time) error {
	p.now, p.changes = now, nil
	for _, pair := range [][2]string{{"auth", "authentication"}, {"key", "key-order"}, {"key", "rsa-bits"}, {"key", "ec-bits"}} {
		if p.given(pair[0]) && p.given(pair[1]) {
			return usage(fmt.Errorf("--%s and --%s say the same: use one of them", pair[0], pair[1]))
		}
	}
	auth := "auth"
	if p.given("authentication") {
		auth = "authentication"
	}
	err := errors.Join(
		parsed(p, auth, p.auth, fleet.ParseAuthMode, words(fleet.AuthModes()), func(d *fleet.Device, m fleet.AuthMode) { d.Auth = m }),
		parsed(p, "key-order", p.keyOrder, fleet.ParseKeyOrder, words(fleet.KeyOrders()), func(d *fleet.Device, k fleet.KeyOrder) { d.KeyOrder = k }),
		parsed(p, "rsa-bits", p.rsaBits, fleet.ParseRSABits, numbers(fleet.RSASizes()), func(d *fleet.Device, n int) { d.RSABits = n }),
		parsed(p, "ec-bits", p.ecBits, fleet.ParseECBits, numbers(fleet.ECSizes()), func(d *fleet.Device, n int) { d.ECBits = n }),
		p.readKey(),
		// After these, as it forgets what the operation before brought.
		parsed(p, "operation", p.operation, fleet.ParseOperation, operations(), p.schedule),
		p.readCompletesBy(),
	)
	if err != nil {
		return err
	}
	if p.given("model") {
		p.changes = append(p.changes, func(d *fleet.Device) { d.Model = p.model })
	}
	if p.given("description") {
		p.changes = append(p.changes, func(d *fleet.Device) { d.Description = p.description })
	}
	if p.given("no-mic") {
		p.changes = append(p.changes, func(d *fleet.Device) { d.NoMIC = p.noMIC })
	}
	if p.stringFile != "" {
		if p.str, err = readSecret(p.stringFile); err != nil {
			return err
		}
	}
	return p.checkTexts()
}

// checkTexts refuses what no record can hold, before any record is looked at.
func (p *phoneFlags) checkTexts() error {
	for _, text := range []struct {
		flag string
		set  func(*fleet.Device)
	}{
		{"--model", func(d *fleet.Device) { d.Model = p.model }},
		{"--description", func(d *fleet.Device) { d.Description = p.description }},
		{"--auth-string-file " + p.stringFile, func(d *fleet.Device) { d.AuthString = capf.Secret(p.str.Reveal()) }},
	} {
		d := fleet.NewDevice("SEP000000000000")
		text.set(&d)
		if bad, ok := errors.AsType[*fleet.Problem](d.Validate()); ok {
			return &exitError{code: exitUsage, err: &fleet.Problem{ErrCode: bad.ErrCode, Detail: text.flag + ": " + bad.Detail, Fix: bad.Fix}}
		}
	}
	return nil
}

// expire sets how long a new operation may take, by the configuration.
func (p *phoneFlags) expire(e *env) error {
	c, err := e.loadConfig()
	if err != nil {
		return err
	}
	p.expires = c.CAPF.Expires()
	return nil
}

func (p *phoneFlags) readKey() error {
	if !p.given("key") {
		return nil
	}
	k, err := capf.ParseKeySpec(p.key)
	if err != nil {
		return usage(fmt.Errorf("--key: %w", err))
	}
	p.changes = append(p.changes, func(d *fleet.Device) {
		if k.Type == capf.KeyEC {
			d.KeyOrder, d.ECBits = fleet.KeyOrderEC, k.Bits
		} else {
			d.KeyOrder, d.RSABits = fleet.KeyOrderRSA, k.Bits
		}
	})
	return nil
}

func (p *phoneFlags) schedule(d *fleet.Device, op fleet.Operation) {
	d.ScheduleWithin(op, p.now, p.expires)
}

func (p *phoneFlags) readCompletesBy() error {
	if !p.given("completes-by") {
		return nil
	}
	t, err := fleet.ParseCompletesBy(p.completesBy, time.Local)
	if err != nil {
		return usage(fmt.Errorf("--completes-by: %w; use a time such as 2027-01-20T12:00:00+01:00 or 2027:01:20:12:00, or none for no limit", err))
	}
	if !t.IsZero() && !t.After(p.now) {
		return usage(fmt.Errorf("--completes-by %s: that time has passed, and every call would be too late; use a later one, or none", p.completesBy))
	}
	p.changes = append(p.changes, func(d *fleet.Device) { d.CompletesBy = t })
	return nil
}

// apply changes a record as the flags say.
func (p *phoneFlags) apply(d *fleet.Device) error {
	if str := p.str.Reveal(); str != "" {
		d.SetString(capf.Secret(str))
		if !p.given("auth") && !p.given("authentication") {
			d.Auth = fleet.AuthString
		}
	}
	for _, change := range p.changes {
		change(d)
	}
	return d.Validate()
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
	var dry bool
	cmd := &cobra.Command{
		Use: "add NAME... [flags]", Short: "Add phones; - reads names from stdin", Args: atLeastOne("phone, e.g. SEP001122334455, or - for stdin"),
		Long: `Add phones to the database: all of them, or none when one is there already or cannot be. - reads names from stdin.
The server need not be restarted: it reads a phone's record at each call. Values may also be given in the vendor's words and
numbers, e.g. --operation Install/Upgrade or --auth AUTH_BY_LSC.`,
		Example: `  callsign phone add SEP001122334455 --model 8865 --operation install
  callsign phone add SEP001122334455 --auth string --auth-string-file pin.txt --operation install
  callsign phone add SEP001122334455 --auth mic --key-order ec_rsa --ec-bits 384 --operation install
  seq -f 'SEP%012.0f' 1000 | callsign phone add - --operation install`,
		RunE: func(cmd *cobra.Command, args []string) error {
			now := time.Now()
			if err := p.read(now); err != nil {
				return err
			}
			names, err := e.names(args)
			if err != nil {
				return err
			}
			if err := p.expire(e); err != nil {
				return err
			}
			devices := make([]fleet.Device, 0, len(names))
			for _, n := range names {
				d := fleet.NewDevice(n)
				d.Created = now
				if err := p.apply(&d); err != nil {
					return &exitError{code: exitUsage, err: err}
				}
				devices = append(devices, d)
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				add := s.Phones.AddDevices
				if dry {
					add = func(ctx context.Context, devices []fleet.Device) error { return nobodyThere(ctx, s.Phones, devices) }
				}
				if err := add(ctx, devices); err != nil {
					if errors.Is(err, fleet.ErrExists) {
						return &fleet.Problem{
							ErrCode: "fleet.exists", Detail: "nothing was added: " + err.Error(),
							Fix: "leave out what is there; to change it: callsign phone set NAME --operation install" + e.configFlag(),
						}
					}
					return err
				}
				return e.printAdded(devices, dry)
			})
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would be added, and add nothing")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// nobodyThere is what AddDevices would say: ErrExists, wrapped with the name, when one of the phones is there already.
func nobodyThere(ctx context.Context, phones fleet.Store, devices []fleet.Device) error {
	changes := make([]fleet.Change, len(devices))
	for i := range devices {
		changes[i] = fleet.Change{Name: devices[i].Name, Apply: func(d *fleet.Device, found bool) error {
			if found {
				return fmt.Errorf("%s: %w", d.Name, fleet.ErrExists)
			}
			return errDryRun
		}}
	}
	results, err := phones.ApplyDevices(ctx, changes, false)
	if err != nil {
		return err
	}
	for _, result := range results {
		if !errors.Is(result, errDryRun) {
			return result
		}
	}
	return nil
}

func (e *env) printAdded(devices []fleet.Device, dry bool) error {
	n := len(devices)
	switch {
	case e.json:
		return e.printPhones(devices, n, dry)
	case dry:
		for _, d := range devices {
			fmt.Fprintf(e.out, "%s  operation %s, authentication %s, key %s\n", d.Name, d.Operation, d.Auth, keyOf(d))
		}
		e.hint("dry run, nothing was changed; it would add %d phone%s\n", n, plural(n))
		return nil
	}
	e.hint("added %d phone%s\n", n, plural(n))
	if devices[0].Operation == fleet.OperationNone {
		e.hint("no certificate operation is due yet; next: callsign phone set %s --operation install%s\n", shellQuote(devices[0].Name), e.configFlag())
	}
	return nil
}

// setBatch is how many phones are changed in one transaction.
const setBatch = 500

// errDryRun is why nothing is written in a dry run.
var errDryRun = errors.New("dry run")

func (e *env) phoneSet() *cobra.Command {
	var p phoneFlags
	var dry bool
	cmd := &cobra.Command{
		Use: "set NAME... [flags]", Short: "Set the certificate operation and how a phone authenticates", Args: atLeastOne("phone, or - for stdin"),
		ValidArgsFunction: e.phoneNames(0),
		Long: `Set what is due for phones, and how they authenticate; what changes is shown. What no flag names stays as it is. It applies from
the phone's next call on; a session under way ends with what it began with. Another operation or another string unlocks a
phone that is locked by wrong strings. - reads names from stdin. Values may also be given in the vendor's words and numbers.`,
		Example: `  callsign phone set SEP001122334455 --operation install
  callsign phone set SEP001122334455 --operation delete --dry-run
  callsign phone set SEP001122334455 --auth-string-file pin.txt
  callsign phone list --auth mic --json | jq -r '.items[].name' | callsign phone set - --auth lsc`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !p.anything() {
				return usage(errors.New("nothing to set: use --operation, --auth, --auth-string-file, --key, --key-order, --completes-by, --description, --model or --no-mic"))
			}
			if err := p.read(time.Now()); err != nil {
				return err
			}
			names, err := e.names(args)
			if err != nil {
				return err
			}
			if err := p.expire(e); err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				set, failed, err := e.setPhones(ctx, s, &p, names, dry)
				if err != nil {
					return err
				}
				err = errors.Join(failed...)
				if err != nil && len(set) == 0 && !e.json {
					return err // it says all there is to say
				}
				if err := e.printSet(set, dry); err != nil {
					return err
				}
				if err != nil && len(set) > 0 {
					return &exitError{code: exitPartial, err: err}
				}
				return err
			})
		},
	}
	p.register(cmd)
	cmd.Flags().BoolVar(&dry, "dry-run", false, "tell what would change, and change nothing")
	return exits(cmd, exitOK, exitFailed, exitUsage, exitPartial)
}

// setItem is a phone that was set, and what is different.
type setItem struct {
	phoneItem
	Changes []fieldChange `json:"changes"`
}

// setPhones changes phones, or works out what would change.
func (e *env) setPhones(ctx context.Context, s *app.Records, p *phoneFlags, names []string, dry bool) (set []setItem, failed []error, err error) {
	for batch := range slices.Chunk(names, setBatch) {
		items := make([]setItem, len(batch))
		changes := make([]fleet.Change, len(batch))
		for i, name := range batch {
			changes[i] = fleet.Change{Name: name, Apply: func(d *fleet.Device, found bool) error {
				if !found {
					return e.unknownPhone(name)
				}
				before := *d
				if err := p.apply(d); err != nil {
					return err
				}
				items[i] = setItem{phoneItem: newPhoneItem(*d), Changes: fieldChanges(&before, d)}
				if dry {
					return errDryRun
				}
				return nil
			}}
		}
		results, err := s.Phones.ApplyDevices(ctx, changes, true)
		if err != nil {
			return nil, nil, err
		}
		for i, err := range results {
			if err == nil || errors.Is(err, errDryRun) {
				set = append(set, items[i])
			} else {
				failed = append(failed, err)
			}
		}
	}
	return set, failed, nil
}

func (e *env) printSet(set []setItem, dry bool) error {
	if e.json {
		if set == nil {
			set = []setItem{}
		}
		return e.printJSON(struct {
			Items  []setItem `json:"items"`
			Total  int       `json:"total"`
			DryRun bool      `json:"dry_run,omitempty"`
		}{set, len(set), dry})
	}
	for _, i := range set {
		texts := make([]string, len(i.Changes))
		for n, c := range i.Changes {
			if c.Field == "completes_by" {
				c.Old, c.New = localTime(c.Old), localTime(c.New)
			}
			texts[n] = strings.ReplaceAll(c.Field, "_", " ") + " " + or(c.Old, "-") + " -> " + or(c.New, "-")
		}
		fmt.Fprintf(e.out, "%s  %s\n", i.Name, or(strings.Join(texts, ", "), "stays as it is"))
	}
	verb := "set"
	if dry {
		verb = "dry run, nothing was changed; it would set"
	}
	e.hint("%s %d phone%s\n", verb, len(set), plural(len(set)))
	return nil
}

// localTime is a time of JSON for a person.
func localTime(text string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// fieldChange is what is different in one field of a record; a string is never shown.
type fieldChange struct {
	Field string `json:"field"`
	Old   string `json:"old"`
	New   string `json:"new"`
}

func fieldChanges(before, after *fleet.Device) []fieldChange {
	changes := []fieldChange{}
	add := func(field, old, now string) {
		if old != now {
			changes = append(changes, fieldChange{field, old, now})
		}
	}
	limit := func(d *fleet.Device) string {
		if d.CompletesBy.IsZero() {
			return ""
		}
		return utc(d.CompletesBy)
	}
	add("operation", string(before.Operation), string(after.Operation))
	add("status", string(before.Status), string(after.Status))
	add("completes_by", limit(before), limit(after))
	add("authentication", string(before.Auth), string(after.Auth))
	if !slices.Equal(before.AuthString, after.AuthString) {
		words := map[bool]string{true: "on record", false: ""}
		now := words[len(after.AuthString) > 0]
		if len(before.AuthString) > 0 && now != "" {
			now = "another one"
		}
		add("auth_string", words[len(before.AuthString) > 0], now)
	}
	add("wrong_strings", strconv.Itoa(before.WrongTries), strconv.Itoa(after.WrongTries))
	add("key_order", string(before.KeyOrder), string(after.KeyOrder))
	add("rsa_bits", strconv.Itoa(before.RSABits), strconv.Itoa(after.RSABits))
	add("ec_bits", strconv.Itoa(before.ECBits), strconv.Itoa(after.ECBits))
	add("no_mic", strconv.FormatBool(before.NoMIC), strconv.FormatBool(after.NoMIC))
	add("model", before.Model, after.Model)
	add("description", before.Description, after.Description)
	return changes
}
