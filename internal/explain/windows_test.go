package explain

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWindowsCodes: a status code is found however it is written.
func TestWindowsCodes(t *testing.T) {
	t.Parallel()
	entries, found := Entries(), 0
	for i := range entries {
		e := &entries[i]
		if e.Family != FamilyWindows {
			continue
		}
		found++
		n, err := strconv.ParseUint(strings.TrimPrefix(e.Code, "0x"), 16, 32)
		if err != nil || len(e.Aliases) == 0 {
			t.Errorf("%s is no status code with a name", e.Code)
			continue
		}
		signed := strconv.Itoa(int(int32(n)))
		for _, query := range []string{
			e.Code, strings.ToUpper(e.Code), strconv.FormatUint(n, 10), signed, e.Aliases[0], strings.ToLower(e.Aliases[0]),
			"Denied by Policy Module  " + e.Code + ", text", "text " + e.Code + " (" + signed + " " + e.Aliases[0] + ")", "(" + signed + " unknown)",
			"2026-11-20 17:31:15 10.0.0.1 GET /certsrv - 443 - 10.0.0.2 CiscoRA+1.0 - 401 1 " + strconv.FormatUint(n, 10) + " 4",
		} {
			if got := Lookup(query); len(got) == 0 || got[0].Entry.Code != e.Code {
				t.Errorf("%q leads to %v, want %s", query, summary(query), e.Code)
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d status codes", found)
	}
}

func TestIISRows(t *testing.T) {
	t.Parallel()
	const row = "2026-11-20 17:31:15 10.0.0.1 %s 443 MICHAMEN\\ciscora 10.0.0.2 CiscoRA+1.0 https://h:443/certsrv/certrqxt.asp "
	for _, tc := range []struct{ name, query, want string }{
		{"refused", "401 1 2148074252", "0x8009030c iis:401.1"},
		{"under way", "401 1 2148074254 3", "0x8009030e iis:401.1"},
		{"load balancer", "401 1 2148074248", "0x80090308 iis:401.1"},
		{"binding", "401 1 2148074310", "0x80090346 iis:401.1"},
		{"Basic, password", "401 1 1326", "0x8007052e iis:401.1"},
		{"Basic, disabled", "401 1 1331 12", "0x80070533 iis:401.1"},
		{"Basic, must change", "401 1 1907", "0x80070773 iis:401.1"},
		{"Basic, locked", "401 1 1909", "0x80070775 iis:401.1"},
		{"anonymous", "401 2 5", "iis:401.2"},
		{"permissions", "401 3 5", "iis:401.3"},
		{"login", "301 0 0 12", "iis:301.0"},
		{"plain http", "403 4 5", "iis:403.4"},
		{"client certificate", "403 7 64", "0x80070040 iis:403.7"},
		{"no page", "404 0 2", "iis:404.0"},
		{"script", "500 0 0", "iis:500.0"},
		{"unknown substatus", "503 2 0", "iis:503.0"},
		{"page", "200 0 0", "iis:200.0"},
		{"gone", "200 0 64 10001", "0x80070040 iis:200.0"},
		{"with sizes", "200 0 64 1234 567 10001", "0x80070040 iis:200.0"},
		{"unknown to all", "206 0 0", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, query := range []string{
				tc.query, "  " + tc.query + " ", strings.ReplaceAll(row, "%s", "GET /certsrv -") + tc.query, strings.ReplaceAll(row, "%s", "POST /certsrv/certfnsh.asp -") + tc.query,
			} {
				got := summary(query)
				slices.Sort(got)
				if d := cmp.Diff(tc.want, strings.Join(got, " ")); d != "" {
					t.Errorf("%q: %s", query, d)
				}
			}
		})
	}
	// What only looks alike.
	for _, query := range []string{"we have 401 1 1326", "error 200 0 64", "10.0.0.1 - - GET /x 200 0 64 HTTP/1.1", "401 2", "phone 123 0 64"} {
		if got := summary(query); len(got) > 0 {
			t.Errorf("%q leads to %v", query, got)
		}
	}
	for query, want := range map[string]string{"401.1": "iis:401.1", "403.16": "iis:403.16", "win32:1326": "0x8007052e", "1326": "0x8007052e", "503": "iis:503.0"} {
		if !slices.ContainsFunc(Lookup(query), func(m Match) bool { return m.Entry.Code == want && m.Exact }) {
			t.Errorf("%q leads to %v, want %s", query, summary(query), want)
		}
	}
}
