package winauthtest_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"callsign/certsrv/winauth/winauthtest"
)

// kinit runs MIT's own client, which knows nothing of this package, and returns what it says on failure.
func kinit(t *testing.T, k *winauthtest.KDC, stdin string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("kinit")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("package krb5-user is not installed")
		}
		t.Skip("package krb5-user is not installed")
	}
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(k.Env(), "KRB5CCNAME=FILE:"+t.TempDir()+"/cc")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return string(out)
	} else if err != nil {
		t.Fatal(err)
	}
	return ""
}

func TestKDC(t *testing.T) {
	t.Parallel()
	k := winauthtest.StartKDC(t)
	k.AddUser(t, "ra", "Secret-1")
	k.AddService(t, "HTTP/"+winauthtest.Host)
	for name, tt := range map[string]struct {
		stdin string
		args  []string
		want  string
	}{
		"password":       {"Secret-1\n", []string{"ra"}, ""},
		"keytab":         {"", []string{"-k", "-t", k.Keytab(t, "ra"), "ra"}, ""},
		"wrong password": {"Secret-2\n", []string{"ra"}, "Password incorrect"},
		"unknown user":   {"Secret-1\n", []string{"nobody"}, "not found in Kerberos database"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := kinit(t, k, tt.stdin, tt.args...); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("kinit says %q, want %q", got, tt.want)
			}
		})
	}
}
