package cli

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestToCopy: commands in the remedies of other packages can be copied by who runs ours with --config.
func TestToCopy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"nothing to copy", "reset the phone", "reset the phone"},
		{"no configuration needed", "see callsign explain fleet.exists", "see callsign explain fleet.exists"},
		{"flag with value", "callsign phone set SEP001122334455 --operation install", "callsign phone set SEP001122334455 --operation install --config lab/c.toml"},
		{
			"prose behind", "callsign phone set SEP001122334455 --operation install, and reset the phone",
			"callsign phone set SEP001122334455 --operation install --config lab/c.toml, and reset the phone",
		},
		{
			"two commands", "write them: callsign capf csr export --out DIR; bring them back: callsign capf csr import FILE...",
			"write them: callsign capf csr export --out DIR --config lab/c.toml; bring them back: callsign capf csr import FILE... --config lab/c.toml",
		},
		{"placeholder", "callsign phone strings 'CSF x' --generate --output FILE", "callsign phone strings 'CSF x' --generate --output FILE --config lab/c.toml"},
		{
			"request", "take it back: callsign ra request approve 0123456789abcdef0123456789abcdef, or not",
			"take it back: callsign ra request approve 0123456789abcdef0123456789abcdef --config lab/c.toml, or not",
		},
		{"end of a sentence", "run callsign check.", "run callsign check --config lab/c.toml."},
		{"check of the CA", "run callsign ca check, then callsign ra probe --requester 'LAB\\PC1$'", "run callsign ca check --config lab/c.toml, then callsign ra probe --requester 'LAB\\PC1$' --config lab/c.toml"},
		{
			"certificates of a cluster", "callsign cert upload tomcat-trust FILE, then callsign cert inspect FILE",
			"callsign cert upload tomcat-trust FILE --config lab/c.toml, then callsign cert inspect FILE",
		},
		{
			"trust store", "look at it with: callsign trust list CAPF-trust; or callsign csr create tomcat-ECDSA --node cucmsub",
			"look at it with: callsign trust list CAPF-trust --config lab/c.toml; or callsign csr create tomcat-ECDSA --node cucmsub --config lab/c.toml",
		},
		{
			"fingerprint", "callsign trust delete tomcat-trust 90f72c941fed476a, or not",
			"callsign trust delete tomcat-trust 90f72c941fed476a --config lab/c.toml, or not",
		},
		{"there already", "callsign phone import a.csv --partial --config x.toml", "callsign phone import a.csv --partial --config x.toml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := &env{config: "lab/c.toml"}
			if diff := cmp.Diff(tt.want, e.toCopy(tt.text)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.text, (&env{config: "callsign.toml"}).toCopy(tt.text)); diff != "" {
				t.Errorf("the default configuration: %s", diff)
			}
		})
	}
}

func TestToCopyCluster(t *testing.T) {
	t.Parallel()
	e := &env{config: "callsign.toml", cluster: "lab"}
	for text, want := range map[string]string{
		"look for its name with: callsign trust list":        "look for its name with: callsign trust list --cluster lab",
		"callsign cert upload tomcat FILE --node cucmsub":    "callsign cert upload tomcat FILE --node cucmsub --cluster lab",
		"callsign phone set NAME --operation install":        "callsign phone set NAME --operation install",
		"callsign csr create tomcat --cluster lab, and wait": "callsign csr create tomcat --cluster lab, and wait",
	} {
		if diff := cmp.Diff(want, e.toCopy(text)); diff != "" {
			t.Error(diff)
		}
	}
	e.config = "lab/c.toml"
	if diff := cmp.Diff("callsign csr get tomcat --cluster lab --config lab/c.toml", e.toCopy("callsign csr get tomcat")); diff != "" {
		t.Error(diff)
	}
}
