package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"callsign/internal/fleet"
)

func TestWords(t *testing.T) {
	t.Parallel()
	operation := func(s string) (string, error) { v, err := fleet.ParseOperation(s); return string(v), err }
	status := func(s string) (string, error) { v, err := fleet.ParseStatus(s); return string(v), err }
	auth := func(s string) (string, error) { v, err := fleet.ParseAuthMode(s); return string(v), err }
	order := func(s string) (string, error) { v, err := fleet.ParseKeyOrder(s); return string(v), err }
	rsa := func(s string) (string, error) { v, err := fleet.ParseRSABits(s); return fmt.Sprint(v), err }
	ec := func(s string) (string, error) { v, err := fleet.ParseECBits(s); return fmt.Sprint(v), err }
	for _, tt := range []struct {
		parse      func(string) (string, error)
		name, want string
		code       string // of the refusal of other words
		words      []string
	}{
		{operation, "none", "none", "fleet.operation", []string{"none", "NONE", "No Pending Operation", "no pending operation", "OPERATION_NONE", "OPERATION_NONE:1", "1"}},
		{operation, "install", "install", "fleet.operation", []string{"install", " Install ", "Install/Upgrade", "install / upgrade", "upgrade", "OPERATION_UPGRADE", "operation_upgrade:2", "2"}},
		{operation, "delete", "delete", "fleet.operation", []string{"Delete", "OPERATION_DELETE", "3"}},
		{operation, "troubleshoot", "troubleshoot", "fleet.operation", []string{"Troubleshoot", "OPERATION_TROUBLESHOOT:4", "4"}},
		{status, "pending", "pending", "fleet.status", []string{"pending", "Operation Pending", "CERT_STATUS_OPERATION_PENDING", "2"}},
		{status, "upgrade_success", "upgrade_success", "fleet.status", []string{"upgrade_success", "Upgrade Success", "CERT_STATUS_UPGRADE_SUCCESS:3", "3"}},
		{status, "troubleshoot_failed", "troubleshoot_failed", "fleet.status", []string{"Troubleshoot Failed", "8"}},
		{auth, "null", "null", "fleet.auth-mode", []string{"null", "By Null String", "AUTH_BY_NULL_STR", "AUTH_BY_NULL_STR:2", "2"}},
		{auth, "string", "string", "fleet.auth-mode", []string{"string", "By Authentication String", "AUTH_BY_STR:1", "1"}},
		{auth, "lsc", "lsc", "fleet.auth-mode", []string{"LSC", "By Existing Certificate (Precedence to LSC)", "by existing certificate (precedence to lsc)", "3"}},
		{auth, "mic", "mic", "fleet.auth-mode", []string{"mic", "By Existing Certificate (Precedence to MIC)", "4"}},
		{order, "rsa", "rsa", "fleet.key-order", []string{"rsa", "RSA Only", "KEYORDER_RSA_ONLY:1", "1"}},
		{order, "ec", "ec", "fleet.key-order", []string{"EC Only", "2"}},
		{order, "ec_rsa", "ec_rsa", "fleet.key-order", []string{"ec_rsa", "EC Preferred, RSA Backup", "EC preferred,RSA backup", "3"}},
		{rsa, "rsa 2048", "2048", "fleet.key-size", []string{"2048", "KEY_SIZE_2048", "KEY_SIZE_2048:3", "3", "2048 bits"}},
		{rsa, "rsa 1024", "1024", "fleet.key-size", []string{"1024", "2"}},
		{ec, "ec 521", "521", "fleet.key-size", []string{"521", "EC_KEY_SIZE_521:521"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, word := range tt.words {
				if got, err := tt.parse(word); err != nil || got != tt.want {
					t.Errorf("%q is %q (%v), want %q", word, got, err, tt.want)
				}
			}
			for _, word := range []string{"", " ", "-1", "+2", "9", "2.", "０", "instal", "nonesuch", strings.Repeat("x", 1000)} {
				_, err := tt.parse(word)
				p, ok := errors.AsType[*fleet.Problem](err)
				if !ok || p.Code() != tt.code || p.Remedy() == "" || len(p.Error()) > 200 {
					t.Errorf("%q: %v", word, err)
				}
			}
		})
	}
}

// TestLabelsAreWords: what we show of the vendor's words is taken on input, and so is each of our own.
func TestLabelsAreWords(t *testing.T) {
	t.Parallel()
	for _, v := range fleet.Operations() {
		for _, word := range []string{string(v), v.VendorLabel(), v.VendorName(), fmt.Sprint(v.VendorNumber()), fmt.Sprintf("%s:%d", v.VendorName(), v.VendorNumber())} {
			if got, err := fleet.ParseOperation(word); err != nil || got != v {
				t.Errorf("operation %q is %q (%v), want %q", word, got, err, v)
			}
		}
	}
	for _, v := range fleet.Statuses() {
		for _, word := range []string{string(v), v.VendorLabel(), v.VendorName(), fmt.Sprint(v.VendorNumber()), fmt.Sprintf("%s:%d", v.VendorName(), v.VendorNumber())} {
			if got, err := fleet.ParseStatus(word); err != nil || got != v {
				t.Errorf("status %q is %q (%v), want %q", word, got, err, v)
			}
		}
	}
	for _, v := range fleet.AuthModes() {
		for _, word := range []string{string(v), v.VendorLabel()} {
			if got, err := fleet.ParseAuthMode(word); err != nil || got != v {
				t.Errorf("authentication mode %q is %q (%v), want %q", word, got, err, v)
			}
		}
	}
	for _, v := range fleet.KeyOrders() {
		for _, word := range []string{string(v), v.VendorLabel()} {
			if got, err := fleet.ParseKeyOrder(word); err != nil || got != v {
				t.Errorf("key order %q is %q (%v), want %q", word, got, err, v)
			}
		}
	}
}

// TestLikeWords: a misspelt word is told from one that is like none.
func TestLikeWords(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"instal": "; did you mean install?", " Trubleshoot ": "; did you mean troubleshoot?", "nnoe": "; did you mean none?",
		"upgrad": "", "": "", "or": "", "x": "", "17": "",
	} {
		_, err := fleet.ParseOperation(word)
		p, ok := errors.AsType[*fleet.Problem](err)
		if fix := "use install, delete, troubleshoot or none" + want; !ok || p.Remedy() != fix {
			t.Errorf("%q: %v; %s", word, err, p.Remedy())
		}
	}
}

func TestParseCompletesBy(t *testing.T) {
	t.Parallel()
	paris, err := time.LoadLocation("Europe/Paris")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		in   string
		want string // RFC 3339 in UTC; empty: refused
	}{
		{"2019-01-20T12:00:00Z", "2019-01-20T12:00:00Z"},
		{"2019-01-20t12:00:00+01:00", "2019-01-20T11:00:00Z"},
		{"2019:01:20:12:00", "2019-01-20T11:00:00Z"},
		{" 2019:07:20:12:00 ", "2019-07-20T10:00:00Z"},
		{"2019:07:20:12", "2019-07-20T10:00:00Z"},
		{"none", "0001-01-01T00:00:00Z"},
		{"0001-01-01T00:00:00Z", ""},
		{"2019:13:20:12:00", ""},
		{"2019-01-20", ""},
		{"tomorrow", ""},
		{"", ""},
	} {
		t.Run(tt.in, func(t *testing.T) {
			t.Parallel()
			got, err := fleet.ParseCompletesBy(tt.in, paris)
			if tt.want == "" {
				if p, ok := errors.AsType[*fleet.Problem](err); !ok || p.Code() != "fleet.completes-by" {
					t.Fatalf("%v, %v", got, err)
				}
				return
			}
			if err != nil || got.Format(time.RFC3339) != tt.want {
				t.Errorf("got %v (%v), want %s", got, err, tt.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*fleet.Device)
		code   string
	}{
		{"defaults", func(*fleet.Device) {}, ""},
		{"name", func(d *fleet.Device) { d.Name = "SEP1" }, "fleet.device-name"},
		{"lsc", func(d *fleet.Device) { d.Auth = fleet.AuthLSC }, ""},
		{"mic", func(d *fleet.Device) { d.Auth = fleet.AuthMIC }, ""},
		{"no such mode", func(d *fleet.Device) { d.Auth = "pin" }, "fleet.auth-mode"},
		{"ec with rsa backup", func(d *fleet.Device) { d.KeyOrder = fleet.KeyOrderECRSA }, ""},
		{"no such order", func(d *fleet.Device) { d.KeyOrder = "rsa_ec" }, "fleet.key-order"},
		{"no such operation", func(d *fleet.Device) { d.Operation = "renew" }, "fleet.operation"},
		{"rsa", func(d *fleet.Device) { d.RSABits = 2047 }, "fleet.key-size"},
		{"ec", func(d *fleet.Device) { d.ECBits = 255 }, "fleet.key-size"},
		{"string to come", func(d *fleet.Device) { d.Auth = fleet.AuthString }, ""},
		{"no string", func(d *fleet.Device) { d.Auth, d.Operation = fleet.AuthString, fleet.OperationInstall }, "fleet.string-missing"},
		{"letters", func(d *fleet.Device) { d.Auth, d.AuthString = fleet.AuthString, []byte("12ab") }, "fleet.string-form"},
		{"letters kept for later", func(d *fleet.Device) { d.AuthString = []byte("12ab") }, "fleet.string-form"},
		{"description", func(d *fleet.Device) { d.Description = strings.Repeat("ü", 128) }, ""},
		{"long description", func(d *fleet.Device) { d.Description = strings.Repeat("ü", 129) }, "fleet.description"},
		{"blank description", func(d *fleet.Device) { d.Description = " " }, "fleet.description"},
		{"two lines", func(d *fleet.Device) { d.Description = "a\nb" }, "fleet.description"},
		{"long model", func(d *fleet.Device) { d.Model = strings.Repeat("8", 65) }, "fleet.model"},
		{"bytes in the description", func(d *fleet.Device) { d.Description = "\xfc" }, "fleet.description"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := fleet.NewDevice("SEP001122334455")
			tt.change(&d)
			err := d.Validate()
			if tt.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if p, ok := errors.AsType[*fleet.Problem](err); !ok || p.Code() != tt.code || strings.Contains(p.Error(), "12ab") {
				t.Errorf("got %v, want %s", err, tt.code)
			}
		})
	}
}
