package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"callsign/internal/cluster"
	"callsign/internal/cluster/clustertest"
	"callsign/internal/cluster/upload"
)

func TestClusters(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(t *testing.T) cluster.Store { return open(t).Clusters() })
}

func TestClustersRandomly(t *testing.T) {
	t.Parallel()
	clustertest.RunRandom(t, open(t).Clusters())
}

// TestClustersOfTwo: two stores on one file, as of a command beside the server, are as good as one.
func TestClustersOfTwo(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(t *testing.T) cluster.Store {
		path := filepath.Join(t.TempDir(), "callsign.db")
		a, b := openAt(t, path, Options{}).Clusters(), openAt(t, path, Options{}).Clusters()
		var calls atomic.Int64
		return stores(func() (cluster.Store, func() error, error) {
			if calls.Add(1)%2 == 0 {
				return a, func() error { return nil }, nil
			}
			return b, func() error { return nil }, nil
		})
	})
}

// TestClustersReopened: nothing is kept but in the file.
func TestClustersReopened(t *testing.T) {
	t.Parallel()
	clustertest.Run(t, func(t *testing.T) cluster.Store {
		path := filepath.Join(t.TempDir(), "callsign.db")
		return stores(func() (cluster.Store, func() error, error) {
			s, err := Open(context.Background(), path, Options{})
			if err != nil {
				return nil, nil, err
			}
			return s.Clusters(), s.Close, nil
		})
	})
}

// stores gives each call a store, and ends that afterwards.
type stores func() (cluster.Store, func() error, error)

func (f stores) with(do func(cluster.Store) error) (err error) {
	s, end, err := f()
	if err != nil {
		return err
	}
	defer func() {
		if endErr := end(); endErr != nil {
			err = errors.Join(err, endErr)
		}
	}()
	return do(s)
}

func (f stores) View(ctx context.Context, name string, do func(cluster.Reader) error) error {
	return f.with(func(s cluster.Store) error { return s.View(ctx, name, do) })
}

func (f stores) Apply(ctx context.Context, name string, c *cluster.Change) error {
	return f.with(func(s cluster.Store) error { return s.Apply(ctx, name, c) })
}

func (f stores) CheckKeys(ctx context.Context, name string) (wrong []string, err error) {
	err = f.with(func(s cluster.Store) error {
		wrong, err = s.CheckKeys(ctx, name)
		return err
	})
	return wrong, err
}

// filled is a change with something for each table but that of former requests.
func filled(t testing.TB, k clustertest.Key) *cluster.Change {
	t.Helper()
	return &cluster.Change{
		At: clustertest.Noon, AddRequests: []cluster.NewRequest{k.Request(t, "tomcat", "cucm1"), k.Request(t, "tomcat", "")},
		Install:  []cluster.Install{{Identity: k.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1", "cucm2"}, Key: k.PKCS8(t)}},
		AddTrust: []cluster.Trust{k.Trust(t, "tomcat-trust", "", pkix.Name{CommonName: "CA"})},
		Subjects: []cluster.Subject{{Node: "cucm1", Units: []string{"a"}}}, Events: []cluster.Event{{Actor: "admin"}},
	}
}

// TestClusterMigration: the tables come with the schema's version 7, and go with it.
func TestClusterMigration(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	schemaAt(t, path, 6, func(exec func(string, ...any)) {
		exec(`INSERT INTO renewal (one, policy, at) VALUES (1, 'kept', 5)`)
	})
	tables := func() (names []string) {
		db, err := sql.Open("sqlite", dsn(path, true, time.Second))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = db.Close() }()
		names, err = listOf(t.Context(), db, func(row *sql.Rows) (name string, err error) {
			err = row.Scan(&name)
			return name, err
		}, `SELECT name FROM sqlite_schema WHERE name GLOB 'cluster*' OR tbl_name GLOB 'cluster*'`)
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := tables(); len(got) != 0 {
		t.Fatalf("before: %v", got)
	}
	k := clustertest.NewKey(t)
	up := func() {
		t.Helper()
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Clusters().Apply(t.Context(), "lab", filled(t, k))
		st, stErr := s.Devices().RenewalState(t.Context())
		if err := errors.Join(err, stErr, s.Close()); err != nil || st.Policy != "kept" {
			t.Fatalf("%v; what was there before: %+v", err, st)
		}
	}
	up()
	db, err := sql.Open("sqlite", dsn(path, false, time.Second))
	if err != nil {
		t.Fatal(err)
	}
	p, err := provider(db)
	if err == nil {
		_, err = p.DownTo(context.WithoutCancel(t.Context()), 6)
	}
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if got := tables(); len(got) != 0 {
		t.Errorf("left behind: %v", got)
	}
	up() // at revision 0 again
}

// TestClusterFileModes: the files have private keys in them, whatever the umask of the process.
func TestClusterFileModes(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	s := openAt(t, path, Options{})
	if err := s.Clusters().Apply(t.Context(), "lab", filled(t, clustertest.NewKey(t))); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		fi, err := os.Stat(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, want 0600", fi.Name(), fi.Mode())
		}
	}
}

// TestKeysLeaveTheFile: the key of what was deleted is not found in the file any more.
func TestKeysLeaveTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "callsign.db")
	has := func(key []byte) bool {
		t.Helper()
		// Closing has put the log into the file.
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Contains(b, key)
	}
	apply := func(c *cluster.Change) {
		t.Helper()
		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Clusters().Apply(t.Context(), "lab", c), s.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// A row that is longer than a page, as those of long RSA keys are: a short one is made faster, and the name is long.
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: strings.Repeat("long", 1500)}}, rsaKey)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	request := cluster.NewRequest{Request: cluster.Request{Purpose: "ipsec", Node: "cucm1", DER: der, KeyHash: upload.KeyHash(spki)}, Key: pkcs8}

	requested, installed, next := clustertest.NewKey(t), clustertest.NewKey(t), clustertest.NewKey(t)
	install := func(k clustertest.Key) []cluster.Install {
		return []cluster.Install{{Identity: k.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1"}, Key: k.PKCS8(t)}}
	}
	apply(&cluster.Change{AddRequests: []cluster.NewRequest{request, requested.Request(t, "tomcat", "cucm1")}, Install: install(installed)})
	secrets := map[string][]byte{"the long request": pkcs8, "the short request": requested.PKCS8(t), "the generation": installed.PKCS8(t)}
	for name, key := range secrets {
		// The middle: a long row may be cut in two.
		secrets[name] = key[len(key)/2-16 : len(key)/2+16]
		if !has(secrets[name]) {
			t.Errorf("the key of %s is not in the file: the test looks for the wrong thing", name)
		}
	}
	apply(&cluster.Change{
		Revision: 1, DropRequests: []cluster.Place{{Purpose: "ipsec", Node: "cucm1"}, {Purpose: "tomcat", Node: "cucm1"}}, Install: install(next),
		ForgetBefore: time.Now().Add(time.Hour),
	})
	for name, key := range secrets {
		if has(key) {
			t.Errorf("the key of %s is still in the file", name)
		}
	}
}

// TestCheckKeysDamaged: each damage is told, and nothing of a key is in what is said.
func TestCheckKeysDamaged(t *testing.T) {
	t.Parallel()
	s := open(t)
	k, other := clustertest.NewKey(t), clustertest.NewKey(t)
	if err := s.Clusters().Apply(t.Context(), "lab", filled(t, k)); err != nil {
		t.Fatal(err)
	}
	again := filled(t, k)
	again.Revision, again.AddRequests = 1, nil
	if err := s.Clusters().Apply(t.Context(), "lab", again); err != nil {
		t.Fatal(err)
	}
	check := func(want ...string) {
		t.Helper()
		got, err := s.Clusters().CheckKeys(t.Context(), "lab")
		if err != nil || len(got) != len(want) {
			t.Fatalf("%q, %v, want %d sentences", got, err, len(want))
		}
		for i := range want {
			if !strings.HasPrefix(got[i], strings.Split(want[i], "...")[0]) || !strings.HasSuffix(got[i], strings.Split(want[i], "...")[1]) {
				t.Errorf("%q, want %q", got[i], want[i])
			}
		}
	}
	check()
	damage := func(query string, args ...any) {
		t.Helper()
		if err := s.write(t.Context(), func(ctx context.Context, tx *tx) error {
			_, err := tx.ExecContext(ctx, query, args...)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	damage(`UPDATE cluster_identity SET key = ? WHERE node = 'cucm1' AND replaced IS NULL`, other.PKCS8(t))
	damage(`UPDATE cluster_identity SET key = ? WHERE node = 'cucm2' AND replaced IS NOT NULL`, append([]byte("secret"), k.PKCS8(t)...))
	damage(`UPDATE cluster_identity SET der = x'3000' WHERE node = 'cucm2' AND replaced IS NULL`)
	damage(`UPDATE cluster_request SET key = x'' WHERE node = 'cucm1'`)
	damage(`UPDATE cluster_request SET der = x'3000' WHERE node = ''`)
	check("the certificate of tomcat on cucm1 with the fingerprint ... has the private key of another",
		"the replaced certificate of tomcat on cucm2 with the fingerprint ... has a private key that cannot be read",
		"the certificate of tomcat on cucm2 with the fingerprint ... cannot be read",
		"the request for tomcat on every node... cannot be read",
		"the request for tomcat on cucm1... has a private key that cannot be read")
	// A request whose key was damaged in the file does not become a certificate.
	at := cluster.Place{Purpose: "tomcat", Node: "cucm1"}
	err := s.Clusters().Apply(t.Context(), "lab", &cluster.Change{
		Revision: 2, Install: []cluster.Install{{Identity: k.Identity(t, "tomcat", "cucm1"), Nodes: []string{"cucm1"}, From: &at}},
	})
	if p, ok := errors.AsType[*cluster.Problem](err); !ok || p.Code() != cluster.CodeKeysMismatch || !errors.Is(err, cluster.ErrKeyUnreadable) {
		t.Errorf("installing: %v", err)
	}
}

func TestClustersClosed(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "callsign.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	c := s.Clusters()
	_, keysErr := c.CheckKeys(t.Context(), "lab")
	for name, err := range map[string]error{
		"View": c.View(t.Context(), "lab", func(cluster.Reader) error { return nil }), "Apply": c.Apply(t.Context(), "lab", &cluster.Change{}), "CheckKeys": keysErr,
	} {
		if e, ok := errors.AsType[*Error](err); !ok || e.Code() != "store.closed" {
			t.Errorf("%s: %v, want code store.closed", name, err)
		}
	}
}

// TestClusterPlans: nothing that is asked of a large trust store reads all of it, and the list reads no certificates.
func TestClusterPlans(t *testing.T) {
	t.Parallel()
	s := open(t)
	for name, tc := range map[string]struct {
		query string
		args  []any
		index string
	}{
		"list of all":   {selectTrust + orderTrust, []any{1}, "sqlite_autoindex_cluster_trust_1"},
		"list":          {selectTrust + ` AND store = ?` + orderTrust, []any{1, "a"}, "sqlite_autoindex_cluster_trust_1"},
		"subjects":      {selectTrustDER + ` AND store = ? AND subject_key IN (?, ?)` + sortTrust, []any{1, "a", "b", "c"}, "cluster_trust_subject"},
		"name":          {selectTrustDER + ` AND store = ? AND folded_name = ?` + sortTrust, []any{1, "a", "b"}, "cluster_trust_name"},
		"fingerprint":   {selectTrustDER + ` AND sha256 = ?` + sortTrust, []any{1, "a"}, "cluster_trust_fingerprint"},
		"generations":   {deleteForgotten, []any{1, 2}, "cluster_identity_replaced"},
		"in service":    {replaceIdentity, []any{1, 1, "a", "b"}, "cluster_identity_service"},
		"former":        {selectRetired, []any{1, "a", "b"}, "cluster_retired_place"},
		"history":       {selectEvents, []any{1, 10}, "PRIMARY KEY"},
		"history grows": {highestEvent, []any{1}, "PRIMARY KEY"},
		"history ends":  {pruneEvents, []any{1, 10}, "PRIMARY KEY"},
	} {
		plan, err := listOf(t.Context(), s.read, func(row *sql.Rows) (detail string, err error) {
			var id, parent, unused int
			err = row.Scan(&id, &parent, &unused, &detail)
			return detail, err
		}, "EXPLAIN QUERY PLAN "+tc.query, tc.args...)
		if err != nil {
			t.Fatal(name, err)
		}
		text := strings.Join(plan, "; ")
		if !strings.Contains(text, tc.index) || strings.Contains(text, "SCAN") {
			t.Errorf("%s is read by %q, want %s", name, text, tc.index)
		}
	}
}

const (
	benchTrust = 10_000
	benchStore = "tomcat-trust"
)

// benchClusters is a store with many trust certificates, each of its own name and as long as usual ones.
func benchClusters(b *testing.B) (*Clusters, []cluster.Trust) {
	b.Helper()
	s := open(b)
	k := clustertest.NewKey(b)
	c := &cluster.Change{}
	for i := range benchTrust {
		name := pkix.Name{CommonName: fmt.Sprintf("Issuing CA %d", i), OrganizationalUnit: []string{strings.Repeat("Public Key Services ", 12)}, Organization: []string{"Example"}}
		c.AddTrust = append(c.AddTrust, k.Trust(b, benchStore, "", name))
	}
	if err := s.Clusters().Apply(b.Context(), "lab", c); err != nil {
		b.Fatal(err)
	}
	return s.Clusters(), c.AddTrust
}

func BenchmarkClusterTrustList(b *testing.B) {
	r, _ := benchClusters(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.View(b.Context(), "lab", func(v cluster.Reader) error {
			list, err := v.TrustList(b.Context(), benchStore)
			if len(list) != benchTrust {
				b.Fatalf("%d certificates", len(list))
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClusterTrustBySubject(b *testing.B) {
	r, all := benchClusters(b)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if err := r.View(b.Context(), "lab", func(v cluster.Reader) error {
			list, err := v.TrustBySubject(b.Context(), benchStore, all[i%benchTrust].SubjectKey)
			if len(list) != 1 {
				b.Fatalf("%d certificates", len(list))
			}
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkClusterTrustAll(b *testing.B) {
	r, _ := benchClusters(b)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.View(b.Context(), "lab", func(v cluster.Reader) error {
			_, err := v.TrustAll(b.Context(), benchStore)
			return err
		}); err != nil {
			b.Fatal(err)
		}
	}
}
