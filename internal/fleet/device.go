package fleet

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"callsign/capf"
)

// Operation is the certificate operation that is due for a phone ("Certificate Operation").
type Operation string

// The operations, in the words of our commands.
const (
	OperationNone         Operation = "none"         // No Pending Operation
	OperationInstall      Operation = "install"      // Install/Upgrade
	OperationDelete       Operation = "delete"       // Delete
	OperationTroubleshoot Operation = "troubleshoot" // Troubleshoot: fetch and show
)

// Status is how the last operation stands ("Certificate Operation Status").
type Status string

// The statuses of an operation.
const (
	StatusNone                Status = "none"
	StatusPending             Status = "pending"
	StatusUpgradeSuccess      Status = "upgrade_success"
	StatusUpgradeFailed       Status = "upgrade_failed"
	StatusDeleteSuccess       Status = "delete_success"
	StatusDeleteFailed        Status = "delete_failed"
	StatusTroubleshootSuccess Status = "troubleshoot_success"
	StatusTroubleshootFailed  Status = "troubleshoot_failed"
)

// AuthMode is how a phone authenticates ("Authentication Mode").
type AuthMode string

// The authentication modes that phones may be given.
const (
	AuthNull   AuthMode = "null"   // By Null String
	AuthString AuthMode = "string" // By Authentication String
	AuthLSC    AuthMode = "lsc"    // By Existing Certificate (Precedence to LSC)
	AuthMIC    AuthMode = "mic"    // By Existing Certificate (Precedence to MIC)
)

// KeyOrder is which kind of key is asked for ("Key Order").
type KeyOrder string

// The key orders that phones may be given.
const (
	KeyOrderRSA   KeyOrder = "rsa"    // RSA Only
	KeyOrderEC    KeyOrder = "ec"     // EC Only
	KeyOrderECRSA KeyOrder = "ec_rsa" // EC Preferred, RSA Backup
)

// Origin is who set an operation.
type Origin string

// The origins of an operation.
const (
	OriginAdministrator Origin = ""        // by a command
	OriginRenewal       Origin = "renewal" // by the schedule of renewals
)

// Certificate is an LSC on record.
type Certificate struct {
	DER       []byte
	Serial    string    // lower-case hex, no colons
	Issuer    string    // RFC 4514 form
	IssuerID  string    // ID of the Issuer; empty when the authority gave no certificate of its own with it
	NotBefore time.Time // begin of validity
	NotAfter  time.Time // end of validity
}

// Shown is a certificate that a phone showed for a Troubleshoot operation.
type Shown struct {
	Type string `json:"type"` // "lsc" or "mic"
	DER  []byte `json:"der"`
}

// Note is what the last call brought, for a person to read.
type Note struct {
	Code   string    `json:"code"`
	Detail string    `json:"detail"`
	Remedy string    `json:"remedy,omitempty"`
	At     time.Time `json:"at"`
}

// Device is a phone's record.
type Device struct {
	Name        string // SEP and 12 hex digits, or a soft phone's name; upper case
	Model       string // e.g. "8865"; at most 64 characters, may be empty
	Description string // for people; at most 128 characters, may be empty
	Operation   Operation
	Origin      Origin // who set Operation, or the last one
	Status      Status
	Auth        AuthMode
	AuthString  capf.Secret // for AuthString; cleared when the operation ends
	WrongTries  int         // wrong strings since the operation or the string was set
	KeyOrder    KeyOrder
	RSABits     int       // 512, 1024, 2048, 3072 or 4096
	ECBits      int       // 256, 384 or 521
	CompletesBy time.Time // zero: no limit
	// Scheduled is when the operation was set. A session that ends finds by it whether an administrator has set
	// another one meanwhile.
	Scheduled time.Time
	Result    capf.Result // result code of the last finished or failed call
	HasResult bool
	Note      *Note
	LSC       *Certificate
	Shown     []Shown // from the last Troubleshoot
	// NoMIC tells that the phone is known to have no MIC, so that its LSC is good enough where the MIC goes first.
	NoMIC bool
	// RenewAt is when the schedule of renewals looks at the phone again; zero: never. It is made anew with every LSC.
	RenewAt time.Time
	// Offered is the enrolment whose certificate was offered by message 9 without message 3 and not confirmed. It is
	// not offered that way again.
	Offered string
	Created time.Time
	Updated time.Time
}

// How many characters a record's texts may have.
const (
	MaxModel       = 64
	MaxDescription = 128
)

// NewDevice returns the record of a phone with the defaults: no operation, null string, RSA 2048.
func NewDevice(name string) Device {
	return Device{
		Name: strings.ToUpper(name), Operation: OperationNone, Status: StatusNone, Auth: AuthNull,
		KeyOrder: KeyOrderRSA, RSABits: 2048, ECBits: 256,
	}
}

// Names of phones and soft phones: SEP and a MAC address, or the prefixes of soft clients with a name of their own
// (spec: CAPF section 4, tag 13). 15 characters is the limit of the vendor's device table for phones, 50 for others.
var deviceName = regexp.MustCompile(`^(SEP[0-9A-F]{12}|(CSF|TCT|BOT|TAB|CTI)[0-9A-Z._-]{1,47})$`)

var authString = regexp.MustCompile(`^[0-9]{4,10}$`)

// Validate says what is wrong with a record; nil when nothing is.
func (d *Device) Validate() error {
	if !deviceName.MatchString(d.Name) {
		return problem("fleet.device-name", fmt.Sprintf("%q is no device name", d.Name),
			"use SEP and the 12 hexadecimal digits of the MAC address, e.g. SEP001122334455, or a CSF, TCT, BOT or TAB name")
	}
	if err := checkModel(d.Model); err != nil {
		return err
	}
	if err := checkDescription(d.Description); err != nil {
		return err
	}
	if operationLabels[d.Operation] == "" {
		return problem("fleet.operation", fmt.Sprintf("%q is no operation", d.Operation), "use install, delete, troubleshoot or none")
	}
	if authLabels[d.Auth] == "" {
		return problem("fleet.auth-mode", fmt.Sprintf("%q is no authentication mode", d.Auth), "use null, string, lsc or mic")
	}
	if len(d.AuthString) > 0 && !authString.Match(d.AuthString) {
		return problem("fleet.string-form", "an authentication string has 4 to 10 digits and nothing else",
			"put 4 to 10 digits into the file, as the user will type them on the phone")
	}
	if d.Auth == AuthString && len(d.AuthString) == 0 && d.Operation != OperationNone {
		return problem("fleet.string-missing", fmt.Sprintf("%s is to authenticate by string and has none", d.Name),
			"put 4 to 10 digits into a file of mode 0600 and name it with --auth-string-file")
	}
	if keyOrderLabels[d.KeyOrder] == "" {
		return problem("fleet.key-order", fmt.Sprintf("%q is no key order", d.KeyOrder), "use rsa, ec or ec_rsa")
	}
	if !slices.Contains(RSASizes(), d.RSABits) {
		return problem("fleet.key-size", fmt.Sprintf("RSA keys of %d bits cannot be asked for", d.RSABits), "use 512, 1024, 2048, 3072 or 4096")
	}
	if !slices.Contains(ECSizes(), d.ECBits) {
		return problem("fleet.key-size", fmt.Sprintf("EC keys of %d bits cannot be asked for", d.ECBits), "use 256, 384 or 521")
	}
	return nil
}

func checkModel(s string) error {
	if why := unfit(s, MaxModel); why != "" {
		return problem("fleet.model", "the model "+why, fmt.Sprintf("use at most %d characters on one line, e.g. 8865", MaxModel))
	}
	return nil
}

func checkDescription(s string) error {
	if why := unfit(s, MaxDescription); why != "" {
		return problem("fleet.description", "the description "+why, fmt.Sprintf("use at most %d characters on one line", MaxDescription))
	}
	return nil
}

// unfit says why a text is nothing for lists and logs; empty when it is.
func unfit(s string, most int) string {
	n := utf8.RuneCountInString(s)
	switch {
	case !utf8.ValidString(s):
		return "is not UTF-8"
	case strings.ContainsFunc(s, unicode.IsControl):
		return "has control characters, such as the end of a line"
	case n > most:
		return fmt.Sprintf("has %d characters", n)
	case s != "" && strings.TrimSpace(s) == "":
		return "is nothing but blanks" // which no import file could say
	}
	return ""
}

// SetString gives the phone another authentication string. Like another operation it unlocks a phone that is locked by
// wrong strings.
func (d *Device) SetString(s capf.Secret) {
	d.AuthString, d.WrongTries = s, 0
	if d.Operation != OperationNone {
		d.Status = StatusPending
	}
}

// Schedule sets a new operation for an administrator: it forgets the wrong strings of the one before and its result.
func (d *Device) Schedule(op Operation, now time.Time) {
	d.Operation, d.Origin, d.Scheduled = op, OriginAdministrator, now
	d.Status = StatusPending
	if op == OperationNone {
		d.Status = StatusNone
	}
	d.WrongTries, d.HasResult, d.Result, d.Note = 0, false, 0, nil
	d.Offered = ""
}

// ScheduleWithin does the same for an operation that is to complete within a time (spec: CAPF section 12, "CAPF Operation
// Expires in"); 0: without limit, as is no operation at all.
func (d *Device) ScheduleWithin(op Operation, now time.Time, within time.Duration) {
	d.Schedule(op, now)
	d.CompletesBy = time.Time{}
	if within > 0 && op != OperationNone {
		d.CompletesBy = now.Add(within)
	}
}

// finish ends the operation with its result.
func (d *Device) finish(op Operation, ok bool, r capf.Result) {
	d.Operation = OperationNone
	d.Status = finalStatus(op, ok)
	d.Result, d.HasResult = r, true
	d.AuthString, d.WrongTries, d.Offered = nil, 0, ""
}

func finalStatus(op Operation, ok bool) Status {
	switch op {
	case OperationInstall:
		if ok {
			return StatusUpgradeSuccess
		}
		return StatusUpgradeFailed
	case OperationDelete:
		if ok {
			return StatusDeleteSuccess
		}
		return StatusDeleteFailed
	case OperationTroubleshoot:
		if ok {
			return StatusTroubleshootSuccess
		}
		return StatusTroubleshootFailed
	default:
		return StatusNone
	}
}
