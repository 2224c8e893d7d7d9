package cli

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"callsign/capf"
	"callsign/internal/app"
	"callsign/internal/ca/offline"
	"callsign/internal/enroll"
	"callsign/internal/fleet"
)

func (e *env) phoneShow() *cobra.Command {
	var certificates bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a phone: operation, certificates, and the story of every call", Args: exactlyOne("phone"),
		ValidArgsFunction: e.phoneNames(1),
		Long: `Show one phone: how it stands and what to do next, its certificate operation and authentication with the vendor's names and numbers
beside ours, its certificates, its last calls with each step and why a call failed, and its rows of the enrolment journal.`,
		Example: `  callsign phone show SEP001122334455
  callsign phone show SEP001122334455 --json
  callsign phone show SEP001122334455 --certificates > phone.pem`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if certificates && e.json {
				return usage(errors.New("--certificates writes PEM, where --json would stand: leave it out, the certificates are in the JSON too"))
			}
			c, err := e.loadConfig()
			if err != nil {
				return err
			}
			return e.withStore(cmd.Context(), func(ctx context.Context, s *app.Records) error {
				name := strings.ToUpper(args[0])
				d, err := s.Phones.Device(ctx, name)
				if errors.Is(err, fleet.ErrNotFound) {
					return e.unknownPhone(name)
				}
				if err != nil {
					return err
				}
				if certificates {
					return e.printCertificates(d)
				}
				rows, err := s.Journal.ByOwner(ctx, fleet.Owner(name))
				if err != nil {
					return err
				}
				calls, err := s.Phones.Attempts(ctx, name, 0)
				if err != nil {
					return err
				}
				if e.json {
					detail := newPhoneDetail(d, rows, calls, time.Now())
					detail.Next, detail.Renews = e.toCopy(detail.Next), c.Renewal.Enabled
					return e.printJSON(detail)
				}
				e.showPhone(d, rows, calls, c.Renewal.Enabled, time.Now())
				return nil
			})
		},
	}
	cmd.Flags().BoolVar(&certificates, "certificates", false, "write the LSC on record and the certificates that the phone showed as PEM, and nothing else")
	return exits(cmd, exitOK, exitFailed, exitUsage)
}

// phoneDetail is `phone show --json`.
type phoneDetail struct {
	phoneItem
	Result        string            `json:"result,omitempty"`
	ResultCode    *int              `json:"result_code,omitempty"`
	WrongTries    int               `json:"wrong_strings"`
	Note          *fleet.Note       `json:"note,omitempty"`
	Enrolments    []enrolmentItem   `json:"enrolments"`
	Shown         []string          `json:"shown_certificates,omitempty"`
	HasString     bool              `json:"has_auth_string"`
	State         string            `json:"state"`
	Next          string            `json:"next"`
	Renews        bool              `json:"renewal_enabled"` // whether anything happens at renew_at
	Scheduled     *string           `json:"scheduled"`
	Certificates  []certificateItem `json:"certificates"`
	Attempts      []attemptItem     `json:"attempts"`
	Created       string            `json:"created"`
	Updated       string            `json:"updated"`
	AttemptsLimit int               `json:"attempts_limit"` // how many are kept
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

// certificateItem is a certificate of a phone: the LSC on record, or one that it showed.
type certificateItem struct {
	Type      string  `json:"type"`   // "lsc" or "mic"
	Origin    string  `json:"origin"` // "record" or "shown"
	Subject   string  `json:"subject,omitempty"`
	Issuer    string  `json:"issuer,omitempty"`
	Serial    string  `json:"serial,omitempty"`
	NotBefore *string `json:"not_before"`
	NotAfter  *string `json:"not_after"`
	SHA256    string  `json:"sha256"`
	PEM       string  `json:"pem"`
	Error     string  `json:"error,omitempty"` // why it does not parse

	x *x509.Certificate
}

func newCertificateItem(kind, origin string, der []byte) certificateItem {
	sum := sha256.Sum256(der)
	i := certificateItem{
		Type: kind, Origin: origin, SHA256: hex.EncodeToString(sum[:]),
		PEM: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		i.Error = err.Error()
		return i
	}
	i.x, i.Subject, i.Issuer, i.Serial = c, c.Subject.String(), c.Issuer.String(), fmt.Sprintf("%x", c.SerialNumber)
	i.NotBefore, i.NotAfter = optionalTime(c.NotBefore), optionalTime(c.NotAfter)
	return i
}

func certificatesOf(d fleet.Device) []certificateItem {
	items := []certificateItem{}
	if d.LSC != nil {
		items = append(items, newCertificateItem("lsc", "record", d.LSC.DER))
	}
	for _, s := range d.Shown {
		items = append(items, newCertificateItem(s.Type, "shown", s.DER))
	}
	return items
}

func (e *env) printCertificates(d fleet.Device) error {
	items := certificatesOf(d)
	if len(items) == 0 {
		return &fleet.Problem{
			ErrCode: "fleet.no-certificate", Detail: fmt.Sprintf("there is no certificate of %s on record", d.Name),
			Fix: fmt.Sprintf("let the phone get one: callsign phone set %s --operation install%s; or show its own: --operation troubleshoot", d.Name, e.configFlag()),
		}
	}
	for _, i := range items {
		if _, err := io.WriteString(e.out, i.PEM); err != nil {
			return err
		}
	}
	return nil
}

// attemptItem is a call in JSON.
type attemptItem struct {
	Began          string      `json:"began"`
	Duration       float64     `json:"duration_seconds"`
	Peer           string      `json:"peer"`
	Version        uint8       `json:"version"`
	TLS            string      `json:"tls,omitempty"`
	Cipher         string      `json:"cipher,omitempty"`
	Session        uint32      `json:"session"`
	Operation      string      `json:"operation"`
	Authentication string      `json:"authentication"`
	Credential     string      `json:"credential"`
	OK             bool        `json:"ok"`
	Result         string      `json:"result"`
	ResultCode     int         `json:"result_code"`
	Steps          []stepItem  `json:"steps"`
	Note           *fleet.Note `json:"note,omitempty"`
	Enrolment      string      `json:"enrolment,omitempty"`
	Serial         string      `json:"serial,omitempty"`
	Repeats        int         `json:"repeats,omitempty"` // further calls turned away in the same way, the last one at Latest
	Latest         *string     `json:"latest,omitempty"`
}

type stepItem struct {
	Step     string  `json:"step"`
	Duration float64 `json:"duration_seconds"`
	Code     string  `json:"code,omitempty"`
	Detail   string  `json:"detail,omitempty"`
}

func newAttemptItem(a fleet.Attempt) attemptItem {
	i := attemptItem{
		Began: utc(a.Began), Duration: a.Duration.Seconds(), Peer: a.Peer, Version: a.Version, TLS: a.TLS, Cipher: a.Cipher, Session: a.Session,
		Operation: string(a.Operation), Authentication: string(a.Auth), Credential: a.Credential, OK: a.OK,
		Result: a.Result.Name(), ResultCode: a.Result.Number(), Steps: []stepItem{}, Note: a.Note, Enrolment: a.Enrolment, Serial: a.Serial,
		Repeats: a.Repeats, Latest: optionalTime(a.Latest),
	}
	for _, s := range a.Steps {
		i.Steps = append(i.Steps, stepItem{Step: string(s.Name), Duration: s.Duration.Seconds(), Code: s.Code, Detail: s.Detail})
	}
	return i
}

func newPhoneDetail(d fleet.Device, rows []enroll.Enrolment, calls []fleet.Attempt, now time.Time) phoneDetail {
	state, next := phoneState(d, rows, now)
	detail := phoneDetail{
		phoneItem: newPhoneItem(d), WrongTries: d.WrongTries, Note: d.Note, HasString: len(d.AuthString) > 0, Enrolments: []enrolmentItem{},
		State: state, Next: next, Scheduled: optionalTime(d.Scheduled), Certificates: certificatesOf(d), Attempts: []attemptItem{},
		Created: utc(d.Created), Updated: utc(d.Updated), AttemptsLimit: fleet.AttemptsKept,
	}
	if d.HasResult {
		n := d.Result.Number()
		detail.Result, detail.ResultCode = d.Result.Name(), &n
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
	for _, a := range calls {
		detail.Attempts = append(detail.Attempts, newAttemptItem(a))
	}
	return detail
}

// momentText is a time for a person: by the clock here, with the zone, and how far away.
func momentText(t, now time.Time) string {
	return t.Local().Format("2006-01-02 15:04:05 MST") + " (" + in(t, now) + ")"
}

// showPhone tells a person a phone's story. renews says whether LSCs are renewed by the schedule.
func (e *env) showPhone(d fleet.Device, rows []enroll.Enrolment, calls []fleet.Attempt, renews bool, now time.Time) {
	w := e.out
	line := func(label, format string, args ...any) {
		fmt.Fprintf(w, "  %-14s %s\n", label, fmt.Sprintf(format, args...))
	}
	state, next := phoneState(d, rows, now)
	fmt.Fprintf(w, "%s  %s\n", d.Name, state)
	if next != "" {
		line("next", "%s", e.toCopy(next))
	}
	line("model", "%s", or(d.Model, "-"))
	if d.Description != "" {
		line("description", "%s", d.Description)
	}
	line("authentication", "%s (%s, %s)%s", d.Auth, d.Auth.VendorLabel(), d.Auth.VendorValue(), credentials(d))
	line("key", "%s", keyOf(d))
	line("key order", "%s (%s, %s)%s", d.KeyOrder, d.KeyOrder.VendorLabel(), d.KeyOrder.VendorValue(), sizes(d))
	by := ""
	if d.Operation != fleet.OperationNone && d.Origin == fleet.OriginRenewal {
		by = ", set by the renewal schedule"
	}
	line("operation", "%s (%s, %s)%s", d.Operation, d.Operation.VendorLabel(), vendorOperation(d.Operation), by)
	if !d.CompletesBy.IsZero() && d.Operation != fleet.OperationNone {
		line("completes by", "%s", momentText(d.CompletesBy, now))
	}
	line("status", "%s (%s, %s)", d.Status, d.Status.VendorLabel(), vendorStatus(d.Status))
	if d.HasResult {
		line("result", "%d %s", d.Result.Number(), d.Result.Name())
	}
	e.showNote(d.Note, "  ")
	showLSC(line, d, renews, now)
	for _, c := range certificatesOf(d) {
		if c.Origin == "shown" {
			showCertificate(w, c)
		}
	}
	for _, a := range calls {
		e.showCall(a, d.Note)
	}
	for _, r := range rows {
		e.showEnrolment(r)
	}
}

// sizes are those of the keys that the phone may be asked for.
func sizes(d fleet.Device) string {
	text := ""
	if d.KeyOrder != fleet.KeyOrderEC {
		text += fmt.Sprintf(", RSA %d (%s)", d.RSABits, fleet.VendorRSABits(d.RSABits))
	}
	if d.KeyOrder != fleet.KeyOrderRSA {
		text += fmt.Sprintf(", EC %d (%s)", d.ECBits, fleet.VendorECBits(d.KeyOrder, d.ECBits))
	}
	return text
}

// credentials says what there is to authenticate with, besides the mode.
func credentials(d fleet.Device) string {
	var parts []string
	if d.Auth == fleet.AuthString {
		parts = append(parts, map[bool]string{true: "string on record", false: "no string on record"}[len(d.AuthString) > 0])
	}
	if d.WrongTries > 0 {
		parts = append(parts, fmt.Sprintf("%d wrong string%s", d.WrongTries, plural(d.WrongTries)))
	}
	if d.NoMIC {
		parts = append(parts, "no MIC")
	}
	if len(parts) == 0 {
		return ""
	}
	return ", " + strings.Join(parts, ", ")
}

// showNote explains a code: why, when, what to do, and where to read more.
func (e *env) showNote(n *fleet.Note, indent string) {
	if n == nil {
		return
	}
	line := func(label, text string) { fmt.Fprintf(e.out, "%s%-*s %s\n", indent, 16-len(indent), label, text) }
	line("cause", fmt.Sprintf("%s (%s), %s", n.Detail, n.Code, n.At.Local().Format(time.DateTime)))
	if n.Remedy != "" {
		line("fix", e.toCopy(n.Remedy))
	}
	line("see", "callsign explain "+n.Code)
}

func showLSC(line func(label, format string, args ...any), d fleet.Device, renews bool, now time.Time) {
	if d.LSC == nil {
		line("LSC", "none")
		return
	}
	c := d.LSC
	line("LSC", "serial %s", c.Serial)
	line("  issuer", "%s", c.Issuer)
	if !c.NotBefore.IsZero() {
		line("  from", "%s", momentText(c.NotBefore, now))
	}
	line("  until", "%s", momentText(c.NotAfter, now))
	switch {
	case !renews:
		line("  renewal", "off (section [renewal])")
	case d.Operation != fleet.OperationNone && d.Origin == fleet.OriginRenewal:
		line("  renewal", "under way") // RenewAt is when it is tried again
	case !d.RenewAt.IsZero():
		line("  renewal", "from %s", momentText(d.RenewAt, now))
	}
}

func showCertificate(w io.Writer, c certificateItem) {
	if c.x == nil {
		fmt.Fprintf(w, "  shown %-8s does not parse: %s\n    sha256       %s\n", strings.ToUpper(c.Type), c.Error, c.SHA256)
		return
	}
	fmt.Fprintf(w, "  shown %-8s %s\n    issuer       %s\n    serial       %s\n    valid        %s to %s\n    sha256       %s\n", strings.ToUpper(c.Type), c.Subject, c.Issuer, c.Serial,
		c.x.NotBefore.Local().Format(time.DateOnly), c.x.NotAfter.Local().Format(time.DateOnly), c.SHA256)
}

// showCall tells one call: who, how, how long each step took, and which one failed. told is the note that stands above already.
func (e *env) showCall(a fleet.Attempt, told *fleet.Note) {
	w := e.out
	over := "plain TCP"
	if a.TLS != "" {
		over = a.TLS + " " + a.Cipher
	}
	verdict := "OK"
	if !a.OK {
		verdict = "FAIL"
	}
	fmt.Fprintf(w, "  call           %s  %s  %s, %d %s, %s\n", a.Began.Local().Format("2006-01-02 15:04:05 MST"), e.paint(w, verdict),
		a.Operation, a.Result.Number(), a.Result.Name(), seconds(a.Duration))
	fmt.Fprintf(w, "    from         %s, protocol version %d, %s, to authenticate by %s, showed %s\n", a.Peer, a.Version, over, a.Auth, a.Credential)
	if a.Repeats > 0 {
		fmt.Fprintf(w, "    again        %d more time%s, the last one at %s\n", a.Repeats, plural(a.Repeats), a.Latest.Local().Format("2006-01-02 15:04:05 MST"))
	}
	for i, s := range a.Steps {
		mark := "OK  "
		if s.Code != "" || !a.OK && i == len(a.Steps)-1 {
			mark = "FAIL"
		}
		detail := s.Detail
		if s.Code != "" && a.Note != nil && s.Code == a.Note.Code {
			detail = s.Code // told below with its cause
		} else if s.Code != "" {
			detail = fmt.Sprintf("%s (%s)", s.Detail, s.Code)
		}
		fmt.Fprintf(w, "    %s\n", strings.TrimRight(fmt.Sprintf("%-12s %s  %8s  %s", s.Name, e.paint(w, mark), seconds(s.Duration), detail), " "))
	}
	switch {
	case a.Serial != "" && a.OK:
		fmt.Fprintf(w, "    serial       %s\n", a.Serial)
	case a.Serial != "":
		fmt.Fprintf(w, "    showed       serial %s\n", a.Serial)
	}
	if a.Note != nil && told != nil && a.Note.Code == told.Code && a.Note.At.Equal(told.At) {
		fmt.Fprintf(w, "    cause        as above (%s)\n", a.Note.Code)
		return
	}
	e.showNote(a.Note, "    ")
}

// seconds is a duration as people compare it: 0.3ms, 42ms, 1.50s, 2m5s.
func seconds(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.2fs", d.Seconds())
	default:
		return d.Round(time.Second).String()
	}
}

func (e *env) showEnrolment(r enroll.Enrolment) {
	w := e.out
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
			fmt.Fprintf(w, "    fix          %s\n", e.toCopy(r.Failure.Remedy))
		}
	}
}

// locked tells whether wrong strings have locked a phone.
func locked(d fleet.Device) bool {
	switch d.Status {
	case fleet.StatusUpgradeFailed, fleet.StatusDeleteFailed, fleet.StatusTroubleshootFailed:
		return d.Operation != fleet.OperationNone
	default:
		return false
	}
}

// overdue tells whether the time has passed by which an operation was to complete.
func overdue(d fleet.Device, now time.Time) bool {
	return d.Operation != fleet.OperationNone && !d.CompletesBy.IsZero() && now.After(d.CompletesBy)
}

// stateSentence says in a few words how a phone stands.
func stateSentence(d fleet.Device, rows []enroll.Enrolment) string {
	state, _ := phoneState(d, rows, time.Now())
	return state
}

// phoneState says in a few words how a phone stands, and what somebody has to do next; empty when nobody has.
func phoneState(d fleet.Device, rows []enroll.Enrolment, now time.Time) (state, next string) {
	again := "callsign phone set " + shellQuote(d.Name) + " --operation "
	install := again + string(fleet.OperationInstall)
	switch {
	case locked(d):
		return "is locked: " + string(d.Operation) + " is due, but not before a new string is set",
			"find out who tried, then: callsign phone strings " + shellQuote(d.Name) + " --generate --output FILE"
	case overdue(d, now):
		return fmt.Sprintf("is too late: it was to %s until %s and has not called", d.Operation, d.CompletesBy.Local().Format(time.DateTime)),
			again + string(d.Operation) + ", and reset the phone"
	case d.Operation == fleet.OperationInstall && len(rows) > 0 && rows[0].State == enroll.Pending && rows[0].Authority == offline.Name:
		return "waits for the offline CA to sign request " + rows[0].Progress.RequestID,
			"callsign capf csr export --out DIR, have it signed, then: callsign capf csr import FILE"
	case d.Operation == fleet.OperationInstall && len(rows) > 0 && rows[0].State == enroll.Pending:
		return "waits for the CA's manager to decide request " + rows[0].Progress.RequestID, "decide the request at the CA; then the phone gets its certificate at its next call"
	case d.Operation == fleet.OperationInstall && len(rows) > 0 && rows[0].State == enroll.Issued:
		return "has a certificate waiting for its next call", "reset the phone"
	case d.Operation != fleet.OperationNone && d.Note != nil:
		return "is to " + string(d.Operation) + " at its next call", or(d.Note.Remedy, "callsign explain "+d.Note.Code)
	case d.Operation != fleet.OperationNone && d.Auth == fleet.AuthString:
		return "is to " + string(d.Operation) + " at its next call", "let the user type the authentication string on the phone"
	case d.Operation != fleet.OperationNone:
		return "is to " + string(d.Operation) + " at its next call", "reset the phone, or wait until it calls"
	case expired(d, now) && d.Auth == fleet.AuthLSC:
		return "has an LSC that expired on " + d.LSC.NotAfter.Local().Format(time.DateOnly) + ", which proves nothing any more",
			"callsign phone strings " + shellQuote(d.Name) + " --generate --operation install --output FILE, and let the user type the string"
	case expired(d, now):
		return "has an LSC that expired on " + d.LSC.NotAfter.Local().Format(time.DateOnly), install
	case failedLast(d) && d.LSC != nil:
		return "has its certificate, but the last operation failed", remedy(d, install)
	case failedLast(d):
		return "has no certificate: the last operation failed", remedy(d, install)
	case d.LSC != nil:
		return "has its certificate", ""
	default:
		return "has no certificate and nothing to do", install
	}
}

func expired(d fleet.Device, now time.Time) bool {
	return d.LSC != nil && !d.LSC.NotAfter.IsZero() && now.After(d.LSC.NotAfter)
}

func failedLast(d fleet.Device) bool { return d.HasResult && d.Result != capf.ResultSuccess }

func remedy(d fleet.Device, otherwise string) string {
	if d.Note != nil && d.Note.Remedy != "" {
		return d.Note.Remedy
	}
	return otherwise
}
