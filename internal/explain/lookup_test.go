package explain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// summary is what a query leads to, in short: "openssl:20=unknown_issuer" for a name, with @1 for the depth.
func summary(query string) []string {
	var out []string
	for _, m := range Lookup(query) {
		s := m.Entry.Code
		if m.Name != m.Entry.Code {
			s = m.Name + "=" + s
		}
		if m.Depth >= 0 {
			s += fmt.Sprintf("@%d", m.Depth)
		}
		out = append(out, s)
	}
	return out
}

func TestLookup(t *testing.T) {
	t.Parallel()
	const atsLine = "[ET_NET 0] WARNING: Core server certificate verification failed for (cucm.example.com). Action=Terminate Error="
	for _, tc := range []struct{ name, query, want string }{
		{"code", "est.csr-key-too-short", "est.csr-key-too-short"},
		{"code with blanks around", "  unknown_issuer\n", "unknown_issuer"},
		{"code in capitals", "UNKNOWN_ISSUER", "unknown_issuer"},
		{"alias", "CAPF_OP_FAIL_INVALID_AUTH_STR", "CAPF_OP_FAIL_INVALID_AUTH_STR=capf.invalid-auth-string"},
		{"number of OpenSSL alone", "20", "openssl:20=unknown_issuer"},
		{"number of OpenSSL", "openssl:20", "openssl:20=unknown_issuer"},
		{"number in capitals", "OpenSSL:10", "openssl:10=expired"},
		{"number of two", "7", "openssl:7=bad_signature curl:7"},
		{"number of two, of which one has an entry of its own", "60", "curl:60 openssl:60=openssl:56"},
		{"number with its family", "curl:60", "curl:60"},
		{"number of curl that is an alias", "curl:90", "curl:90=pin_mismatch"},
		{"number of both that is an alias", "90", "openssl:90=malformed curl:90=pin_mismatch"},
		{"number that nobody has", "9999", ""},
		{"name of OpenSSL", "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "openssl:20=unknown_issuer"},
		{"nothing", "", ""},
		{"blanks", " \n\t ", ""},
		{"anything", "the quick brown fox", ""},
		{"code of another room", "est.timeout", "est.timeout"},

		{"text of OpenSSL", "unable to get local issuer certificate", "unknown_issuer"},
		{"text of OpenSSL 1.1.1", "self signed certificate", "self_signed"},
		{"text of OpenSSL 3", "self-signed certificate", "self_signed"},
		{"longer text of the same beginning", "self signed certificate in certificate chain", "unknown_root"},
		{"curl", "curl: (60) SSL certificate problem: unable to get local issuer certificate", "unknown_issuer curl:60"},
		{
			"curl, name", "curl: (60) SSL: no alternative certificate subject name matches target host name 'ra.example.com'",
			"name_mismatch curl:60",
		},
		{"curl, typographic quotes", "certificate subject name ‘a’ does not match target host name ‘b’", "name_mismatch"},
		{"curl, refused", "curl: (7) Failed to connect to ra.example.com port 8084 after 2 ms: Couldn't connect to server", "curl:7"},
		{
			"RA", "nginx: login_to_certsrv_ca: Curl call for MS CA login failed with return code 60 (SSL certificate problem: unable to get local issuer certificate)",
			"unknown_issuer",
		},
		{
			"RA, name", "login_to_certsrv_ca: Curl call for MS CA login failed with return code 51 (SSL: certificate subject name 'lab' does not match target host name 'lab.example.com')",
			"name_mismatch",
		},
		{"RA, time", "retrieve_cacerts: Curl request failed with return code 28 (Operation timed out after 10001 milliseconds with 0 bytes received)", "curl:28"},
		{"RA, DNS", "failed with return code 6 (Could not resolve: dc.example.com (Domain name not found))", "curl:6"},
		{"nginx", "client SSL certificate verify error: (20:unable to get local issuer certificate) while reading client request headers", "unknown_issuer"},
		{"Traffic Server, self-signed", atsLine + "self signed certificate server=cucm.example.com(192.0.2.1) depth=0", "self_signed@0"},
		{"Traffic Server, issuer of the leaf", atsLine + "unable to get local issuer certificate server=cucm.example.com(192.0.2.1) depth=0", "unknown_issuer@0"},
		{"Traffic Server, issuer above", atsLine + "unable to get local issuer certificate server=cucm.example.com(192.0.2.1) depth=1", "unknown_issuer@1"},
		{"Traffic Server, root", atsLine + "self signed certificate in certificate chain server=cucm.example.com(192.0.2.1) depth=2", "unknown_root@2"},
		{"Traffic Server, name", "[ET_NET 2] WARNING: SNI (192.0.2.7) not in certificate. Action=Terminate server=192.0.2.7(192.0.2.7)", "name_mismatch"},
		{"openssl verify", "error 20 at 0 depth lookup: unable to get local issuer certificate", "unknown_issuer@0"},
		{"s_client", "depth=1 CN = Issuing CA\nverify error:num=2:unable to get issuer certificate", "incomplete_anchor@1"},
		{"Go", `Get "https://x": tls: failed to verify certificate: x509: certificate signed by unknown authority`, "unknown_issuer"},
		{"Go, name", "x509: certificate is valid for a.example.com, not b.example.com", "name_mismatch"},
		{"Go, late", "x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z", "expired"},
		{"Go, early", "x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is before 2026-02-01T00:00:00Z", "not_yet_valid"},
		{"Go, either", "certificate has expired or is not yet valid", "expired not_yet_valid"},
		{
			"Java", "PKIX path building failed: sun.security.provider.certpath.SunCertPathBuilderException: unable to find valid certification path to requested target",
			"unknown_issuer",
		},
		{"Java, name", "No subject alternative DNS name matching ra.example.com found.", "name_mismatch"},
		{"our log", `{"level":"WARN","msg":"phone refused","code":"fleet.unknown-device","cause":"no phone \"SEP0\" is configured"}`, "fleet.unknown-device"},
		{"our log, chain fault", `{"reason":"revoked","host":"x"}`, "revoked"},
		{"our error", "error: enrol (certsrv.tls-untrusted)\n  cause: x509: certificate signed by unknown authority", "certsrv.tls-untrusted unknown_issuer"},
		{"our log, upload code", `{"msg":"upload refused","code":"WILDCARD","check":13}`, "WILDCARD"},
		{"our words without the code", `template "CiscoRa2" is not offered to user LAB\ra; offered: CiscoRA, User`, "certsrv.template-not-offered"},
		{"a word that is a code, in a sentence", "the list is malformed and revoked", ""},
		{"code at the end of a sentence", "see est.timeout.", "est.timeout"},
		{"control characters", "unable\x00to\tget\x1b[local issuer certificate\u202e", ""},
		{"tabs for blanks", "unable\tto get   local issuer\u00a0certificate", "unknown_issuer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(summary(tc.query), " "); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestWordingsAreFound: every wording that an entry shows leads to it, also inside of a line.
func TestWordingsAreFound(t *testing.T) {
	t.Parallel()
	entries := Entries()
	for i := range entries {
		for _, w := range entries[i].Wording {
			line := "2026-11-21 12:00:00 host program[1]: " + strings.ReplaceAll(w.Text, "*", "X1") + " and so on"
			if !slices.ContainsFunc(Lookup(line), func(m Match) bool { return m.Entry.Code == entries[i].Code }) {
				t.Errorf("%q does not lead to %s but to %v", line, entries[i].Code, summary(line))
			}
		}
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, query, first string }{
		{"misspelt code", "unknown_isuer", "unknown_issuer"},
		{"without its room", "csr-key-too-short", "est.csr-key-too-short"},
		{"misspelt room", "cerfile.missing", "certfile.missing"},
		{"part of a code", "template", "certsrv.template-not-offered"},
		{"dash for underscore", "not-yet-valid", "app.certificate-not-yet-valid"},
		{"words of a title", "the phone is locked", "fleet.locked"},
		{"words of a Korean title", "CA가 요청을 거부", "certsrv.denied"},
		{"words of a French title", "certificat mal formé", "malformed"},
		{"nothing like it", "xyzzyx", ""},
		{"long word", strings.Repeat("x", 10000), ""},
		{"empty", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			near := Nearest(tc.query, 3)
			if len(near) > 3 {
				t.Errorf("%d are too many", len(near))
			}
			if tc.first == "" && len(near) > 0 || tc.first != "" && !slices.Contains(near, tc.first) {
				t.Errorf("got %q, want %q among them", near, tc.first)
			}
		})
	}
}

func TestLangs(t *testing.T) {
	t.Parallel()
	for locale, want := range map[string]Lang{
		"ko_KR.UTF-8": Korean, "fr_CA@euro": French, "fr": French, "en_US.UTF-8": English, "de_DE.UTF-8": English, "C": English, "": English, "KO": Korean,
	} {
		if got := LocaleLang(locale); got != want {
			t.Errorf("LocaleLang(%q) = %s, want %s", locale, got, want)
		}
	}
	if _, ok := ParseLang("KO"); ok {
		t.Error("KO is taken for a language")
	}
	if l, ok := ParseLang("fr"); !ok || l != French {
		t.Errorf("fr is %q", l)
	}
}

// heavy are texts of the greatest length that make work: many lines, many matches, many beginnings of matches.
func heavy() map[string]string {
	return map[string]string{
		"lines":        strings.Repeat("\n", MaxQuery),
		"short lines":  strings.Repeat("aaaaaaa\n", MaxQuery/8),
		"matches":      strings.Repeat("self signed certificate\n", MaxQuery/24),
		"one line":     strings.Repeat("self signed certificate ", MaxQuery/24),
		"beginnings":   strings.Repeat("sni (", MaxQuery/5),
		"letters":      strings.Repeat("c", MaxQuery),
		"codes":        strings.Repeat("est.timeout ", MaxQuery/12),
		"not UTF-8":    strings.Repeat("\xff", MaxQuery),
		"wide letters": strings.Repeat("인증서 ", MaxQuery/10),
		"longer":       strings.Repeat("unable to get local issuer certificate ", MaxQuery/10),
	}
}

// TestHeavyTexts: foreign text cannot keep the search busy.
func TestHeavyTexts(t *testing.T) {
	t.Parallel()
	const limit = 5 * time.Second // some 100 ms on an idle machine
	for name, text := range heavy() {
		began := time.Now()
		n := len(Lookup(text))
		near := len(Nearest(text, 3))
		if took := time.Since(began); took > limit || n > maxMatches || near > 3 {
			t.Errorf("%s: %d matches, %d suggestions, after %s", name, n, near, took)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	for name, text := range heavy() {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Lookup(text)
			}
		})
	}
}

func FuzzLookup(f *testing.F) {
	for _, s := range []string{
		"est.timeout", "60", "openssl:20", "unable to get local issuer certificate", "self signed certificate server=h(a) depth=0",
		"SNI (x) not in certificate. Action=Terminate", "curl: (60) SSL certificate problem: self-signed certificate",
		"error 20 at 0 depth lookup: x", "depth=1 CN = x\nverify error:num=2:unable to get issuer certificate",
		`{"code":"expired"}`, "x509: certificate is valid for \x00\xff, not \u202eb", "인증서가 만료됨", "depth=99999999999999999999",
		"Could not resolve: h (Domain name not found)", "\n\n\n", "'\u2019\u201c",
		"EKU_MISSING:clientAuth", "node_not_in_san:cucm-sub2.example.com", "CSR SAN and Certificate SAN does not match",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, query string) {
		matches := Lookup(query)
		seen := map[string]bool{}
		for _, m := range matches {
			if seen[m.Entry.Code] || m.Depth < -1 || m.Name == "" {
				t.Errorf("%q: match %+v", query, m)
			}
			seen[m.Entry.Code] = true
		}
		if len(matches) > 0 && !matches[0].Exact {
			if len(matches) > maxMatches {
				t.Errorf("%q: %d matches", query, len(matches))
			}
			// The same text in a log has the same meaning.
			again := Lookup("first line\n" + query)
			if len(query) < MaxQuery/2 && len(again) == 0 {
				t.Errorf("%q is not found behind another line", query)
			}
		}
		for _, l := range Langs() {
			for i := range matches {
				var b strings.Builder
				if err := (Page{Lang: l, Width: 40 + i}).Write(&b, matches[i]); err != nil || b.Len() == 0 {
					t.Fatal(err)
				}
			}
		}
		for _, code := range Nearest(query, 3) {
			if !Known(code) {
				t.Errorf("%q: suggests %q", query, code)
			}
		}
		if clean := printable(query); strings.ContainsAny(clean, "\x00\x07\x1b\r\t\u202e") {
			t.Errorf("%q keeps control characters", clean)
		}
	})
}

func TestPrintable(t *testing.T) {
	t.Parallel()
	if diff := cmp.Diff("a b?c\nd 'e' \"f\"", printable("a\tb\xffc\nd \u2018e\u2019 \u201cf\u201d")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(printable(strings.Repeat("a", 3*MaxQuery))); n != MaxQuery {
		t.Errorf("%d bytes are kept", n)
	}
	if s := printable(strings.Repeat("가", MaxQuery)); !strings.HasSuffix(s, "?") || strings.Count(s, "?") != 1 {
		t.Errorf("a letter that is cut in two leaves %q", s[len(s)-6:])
	}
}
