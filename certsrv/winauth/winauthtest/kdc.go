package winauthtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// The names of the test bed.
const (
	Realm = "TEST.EXAMPLE"
	Host  = "lab-dc.test.example" // has no address: clients dial the bed's whatever the name
)

// KDC is a running MIT Kerberos key distribution centre for [Realm], on TCP and UDP. Like Active Directory it wants
// pre-authentication from everybody.
type KDC struct {
	dir  string
	addr string
	env  []string
	proc *process

	mu       sync.Mutex
	services map[string]string // keytabs by service
}

// KDCOption changes a KDC before it starts.
type KDCOption func(*kdcSettings)

type kdcSettings struct {
	offset time.Duration
	life   time.Duration
}

// ClockOffset makes the KDC's clock run ahead of this machine's, or behind with a negative offset.
func ClockOffset(d time.Duration) KDCOption { return func(s *kdcSettings) { s.offset = d } }

// TicketLife bounds the life of every ticket that the KDC issues, in whole seconds; otherwise it is 10 hours.
func TicketLife(d time.Duration) KDCOption { return func(s *kdcSettings) { s.life = d } }

// StartKDC starts a KDC with an empty realm. It ends with the test.
func StartKDC(t testing.TB, opts ...KDCOption) *KDC {
	t.Helper()
	s := kdcSettings{life: 10 * time.Hour}
	for _, o := range opts {
		o(&s)
	}
	program := need(t, "krb5-kdc", "/usr/sbin/krb5kdc")
	need(t, "krb5-admin-server", "/usr/sbin/kadmin.local")
	k := &KDC{dir: scratch(t), addr: freeAddr(t), services: map[string]string{}}
	k.env = []string{"KRB5_CONFIG=" + k.Config(), "KRB5_KDC_PROFILE=" + k.path("kdc.conf"), "KRB5RCACHEDIR=" + k.dir}
	fill := strings.NewReplacer("$T", k.dir, "$ADDR", k.addr, "$REALM", Realm, "$HOST", Host,
		"$LIFE", fmt.Sprintf("%ds", int(s.life.Seconds())))
	write(t, k.Config(), fill.Replace(krb5Conf))
	write(t, k.path("kdc.conf"), fill.Replace(kdcConf))
	write(t, k.path("kadm5.acl"), "")
	run(t, k.env, "/usr/sbin/kdb5_util", "create", "-s", "-r", Realm, "-P", "masterpw")
	k.proc = start(t, append(k.Env(), shifted(t, s.offset)...), []string{k.path("kdc.log")}, program, "-n")
	k.proc.await(t, k.addr)
	return k
}

// Addr returns host and port, the same for TCP and UDP.
func (k *KDC) Addr() string { return k.addr }

// Config returns the path of a krb5.conf that names this KDC, for clients and servers.
func (k *KDC) Config() string { return k.path("krb5.conf") }

// Env returns the environment that MIT's programs need to use this KDC.
func (k *KDC) Env() []string { return append([]string(nil), k.env...) }

// AddUser adds a principal with a password; name is without realm.
func (k *KDC) AddUser(t testing.TB, name, password string) {
	t.Helper()
	k.Admin(t, "addprinc", "-pw", password, name+"@"+Realm)
}

// AddService adds a service principal such as "HTTP/lab-dc.test.example" with a random key, unless it is there, and returns
// the path of a keytab with it, which every user may read.
func (k *KDC) AddService(t testing.TB, name string) string {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	if path := k.services[name]; path != "" {
		return path
	}
	k.Admin(t, "addprinc", "-randkey", name+"@"+Realm)
	path := k.Keytab(t, name)
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // the keytab of a test; Apache's children read it
		t.Fatal(err)
	}
	k.services[name] = path
	return path
}

// Keytab returns the path of a new keytab with the present keys of a principal. The file has mode 0600.
func (k *KDC) Keytab(t testing.TB, name string) string {
	t.Helper()
	f, err := os.CreateTemp(k.dir, "*.keytab")
	if err != nil {
		t.Fatal(err)
	}
	path := f.Name()
	_ = f.Close()
	if err := os.Remove(path); err != nil { // an empty file is no keytab to add to
		t.Fatal(err)
	}
	k.Admin(t, "ktadd", "-norandkey", "-k", path, name+"@"+Realm)
	return path
}

// Admin runs one query of kadmin.local, such as "modprinc", "-expire", "yesterday", NAME.
func (k *KDC) Admin(t testing.TB, query ...string) {
	t.Helper()
	// kadmin.local ends with 0 also after most errors, and says nothing of success in one way.
	out := run(t, k.env, "/usr/sbin/kadmin.local", append([]string{"-r", Realm}, query...)...)
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, query[0]+":") || strings.HasPrefix(line, "kadmin.local:") {
			t.Fatalf("kadmin.local %s: %s", query[0], out)
		}
	}
}

// Log returns what the KDC has logged: a line for each request, with what became of it.
func (k *KDC) Log(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(k.path("kdc.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Stop ends the KDC; its address then refuses connections.
func (k *KDC) Stop() { k.proc.stop() }

func (k *KDC) path(name string) string { return filepath.Join(k.dir, name) }

const krb5Conf = `[libdefaults]
  default_realm = $REALM
  dns_lookup_realm = false
  dns_lookup_kdc = false
  dns_canonicalize_hostname = false
  rdns = false
  udp_preference_limit = 1
  permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha1-96
[realms]
  $REALM = {
    kdc = $ADDR
  }
[domain_realm]
  $HOST = $REALM
`

const kdcConf = `[kdcdefaults]
  kdc_listen = $ADDR
  kdc_tcp_listen = $ADDR
[realms]
  $REALM = {
    database_name = $T/principal
    key_stash_file = $T/stash
    acl_file = $T/kadm5.acl
    max_life = $LIFE
    default_principal_flags = +preauth
    supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
  }
[logging]
  kdc = FILE:$T/kdc.log
`
