package certsrvtest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBasic checks the forms of names and what IIS logs for each state of an account.
func TestBasic(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, user, pass string
		logged           string // cs-username
		tail             string
	}{
		{"DOMAIN\\user", `LAB\ra`, testPassword, `LAB\ra`, "301 0 0 0"},
		{"lower case", `lab\RA`, testPassword, `LAB\ra`, "301 0 0 0"},
		{"user@domain", "ra@lab.test", testPassword, `LAB\ra`, "301 0 0 0"},
		{"user@NetBIOS", "ra@lab", testPassword, `LAB\ra`, "301 0 0 0"},
		{"bare name", "ra", testPassword, `LAB\ra`, "301 0 0 0"},
		{"account configured without domain", `LAB\plain`, "p", `LAB\plain`, "301 0 0 0"},
		{"colon in the password", "colon", "a:b", `LAB\colon`, "301 0 0 0"},
		{"wrong password", "ra", testPassword + "x", "ra", "401 1 1326 0"},
		{"unknown user", `LAB\nobody`, "", `LAB\nobody`, "401 1 1326 0"},
		{"another domain", `ELSEWHERE\ra`, testPassword, `ELSEWHERE\ra`, "401 1 1326 0"},
		{"disabled", "disabled", "d", "disabled", "401 1 1331 0"},
		{"must change", "change", "c", "change", "401 1 1907 0"},
		{"locked", "locked", "l", "locked", "401 1 1909 0"},
		{"disabled, wrong password", "disabled", "x", "disabled", "401 1 1326 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log lockedBuffer
			c := config(t, 0)
			c.NTLM, c.IISLog = false, &log
			c.Users = append(c.Users, User{Name: "plain", Password: "p"}, User{Name: "colon", Password: "a:b"},
				User{Name: "disabled", Password: "d", State: AccountDisabled}, User{Name: "change", Password: "c", State: AccountMustChange},
				User{Name: "locked", Password: "l", State: AccountLocked})
			w := start(t, c).dial(t, textAgent)
			w.user, w.pass = tc.user, tc.pass
			w.do(http.MethodGet, "/certsrv", "")
			if line := log.lines()[0]; !strings.HasSuffix(line, tc.tail) || !strings.Contains(line, " "+tc.logged+" ") {
				t.Errorf("%s, want %s and %s", line, tc.logged, tc.tail)
			}
			// Basic is per request: the connection is not logged in.
			w.user = ""
			if resp, _ := w.do(http.MethodGet, "/certsrv", ""); resp.StatusCode != http.StatusUnauthorized {
				t.Errorf("without credentials: %d", resp.StatusCode)
			}
		})
	}
}

// TestOffers checks what a 401 offers, and that a scheme which is not offered is not taken.
func TestOffers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		basic, ntlm bool
		want        []string
	}{
		"default": {false, false, []string{"NTLM"}},
		"NTLM":    {false, true, []string{"NTLM"}},
		"Basic":   {true, false, []string{`Basic realm="pki.lab.test"`}},
		"both":    {true, true, []string{"NTLM", `Basic realm="pki.lab.test"`}},
	} {
		c := config(t, 0)
		c.Basic, c.NTLM, c.Host = tc.basic, tc.ntlm, "pki.lab.test"
		s := start(t, c)
		resp, _ := s.dial(t, textAgent).do(http.MethodGet, "/certsrv", "")
		if diff := cmp.Diff(tc.want, resp.Header.Values("WWW-Authenticate")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		resp, _ = s.basic(t, textAgent).do(http.MethodGet, "/certsrv", "")
		if got := resp.StatusCode == http.StatusMovedPermanently; got != tc.basic {
			t.Errorf("%s: Basic %d", name, resp.StatusCode)
		}
		resp, _ = s.dial(t, textAgent).do(http.MethodGet, "/certsrv", "", authorization(type1(32, clientFlags)))
		if got := strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM TlRMTVNTUAAC"); got != (tc.ntlm || !tc.basic) {
			t.Errorf("%s: NTLM %v", name, resp.Header)
		}
	}
}
