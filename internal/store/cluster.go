package store

import (
	"context"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"callsign/internal/cluster"
)

var _ cluster.Store = (*Clusters)(nil)

// Clusters implements [cluster.Store].
type Clusters struct{ s *Store }

// Clusters returns the certificates of clusters.
func (s *Store) Clusters() *Clusters { return &Clusters{s: s} }

const (
	recordColumns   = `sha256, common_name, issuer_name, subject, subject_key, issuer_key, serial, key_type, key_bits, not_before, not_after, self_signed, ca, key_id, authority`
	identityColumns = `purpose, node, multi, ` + recordColumns + `, description, since, der`
	trustColumns    = `store, node, ` + recordColumns + `, origin, of_purpose, of_node, description, added`
	eventColumns    = `at, actor, action, purpose, node, went, came, detail`
	subjectColumns  = `node, units, organization, locality, state, country, alternate_host_names`

	selectCluster     = `SELECT id, revision FROM cluster WHERE name = ?`
	selectIdentities  = `SELECT ` + identityColumns + ` FROM cluster_identity WHERE cluster = ? AND replaced IS NULL ORDER BY purpose, node, sha256`
	selectGenerations = `SELECT ` + identityColumns + `, replaced FROM cluster_identity WHERE cluster = ? AND replaced IS NOT NULL
		ORDER BY purpose, node, replaced DESC, id DESC`
	selectRequests = `SELECT purpose, node, der, key_hash, created FROM cluster_request WHERE cluster = ? ORDER BY purpose, node`
	selectRetired  = `SELECT purpose, node, key_hash, created, ended FROM cluster_retired WHERE cluster = ? AND purpose = ? AND node = ? ORDER BY seq DESC`
	selectTrust    = `SELECT ` + trustColumns + ` FROM cluster_trust WHERE cluster = ?`
	selectTrustDER = `SELECT ` + trustColumns + `, der FROM cluster_trust JOIN cluster_trust_der USING (id) WHERE cluster = ?`
	orderTrust     = ` ORDER BY store, node, sha256`
	// Sorted rather than read in this order, which would be to read a whole store for the sake of a few.
	sortTrust     = ` ORDER BY +store, +node, +sha256`
	selectSubject = `SELECT ` + subjectColumns + ` FROM cluster_subject WHERE cluster = ? AND node = ?`
	selectEvents  = `SELECT ` + eventColumns + ` FROM cluster_event WHERE cluster = ? ORDER BY number DESC LIMIT ?`
	selectKeys    = `SELECT i.purpose, i.node, i.sha256, i.replaced IS NOT NULL, i.key, i.der FROM cluster_identity i JOIN cluster c ON c.id = i.cluster
		WHERE c.name = ? ORDER BY i.purpose, i.node, i.id`
	selectRequestKeys = `SELECT r.purpose, r.node, r.key, r.der FROM cluster_request r JOIN cluster c ON c.id = r.cluster
		WHERE c.name = ? ORDER BY r.purpose, r.node`
)

// View implements cluster.Store. The reader is a transaction, which in WAL mode neither waits for the writer nor sees it.
func (r *Clusters) View(ctx context.Context, name string, do func(cluster.Reader) error) error {
	tx, err := r.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	view := &clusterReader{tx: tx, path: r.s.path}
	// The first read begins what the transaction sees. A cluster that is not there has no id that rows could have.
	if err := tx.QueryRowContext(ctx, selectCluster, name).Scan(&view.id, &view.revision); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read cluster %s: %w", name, explain(r.s.path, err))
	}
	return do(view)
}

func (r *Clusters) begin(ctx context.Context) (*sql.Tx, error) {
	if r.s.stopped() {
		return nil, r.s.closed()
	}
	tx, err := r.s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, fmt.Errorf("read clusters: %w", explain(r.s.path, err))
	}
	return tx, nil
}

// clusterReader implements cluster.Reader.
type clusterReader struct {
	tx           *sql.Tx
	path         string
	id, revision int64
}

// Revision implements cluster.Reader.
func (v *clusterReader) Revision(context.Context) (int64, error) { return v.revision, nil }

// Identities implements cluster.Reader.
func (v *clusterReader) Identities(ctx context.Context) ([]cluster.Identity, error) {
	list, err := listOf(ctx, v.tx, scanIdentity, selectIdentities, v.id)
	return list, v.fault("identity certificates", err)
}

// Generations implements cluster.Reader.
func (v *clusterReader) Generations(ctx context.Context) ([]cluster.Generation, error) {
	list, err := listOf(ctx, v.tx, scanGeneration, selectGenerations, v.id)
	return list, v.fault("replaced certificates", err)
}

// Requests implements cluster.Reader.
func (v *clusterReader) Requests(ctx context.Context) ([]cluster.Request, error) {
	list, err := listOf(ctx, v.tx, func(row *sql.Rows) (q cluster.Request, err error) {
		var created sql.NullInt64
		err = row.Scan(&q.Purpose, &q.Node, &q.DER, &q.KeyHash, &created)
		q.Created = timeOf(created)
		return q, err
	}, selectRequests, v.id)
	return list, v.fault("requests", err)
}

// Retired implements cluster.Reader.
func (v *clusterReader) Retired(ctx context.Context, purpose, node string) ([]cluster.Retired, error) {
	list, err := listOf(ctx, v.tx, func(row *sql.Rows) (q cluster.Retired, err error) {
		var created, ended sql.NullInt64
		err = row.Scan(&q.Purpose, &q.Node, &q.KeyHash, &created, &ended)
		q.Created, q.Ended = timeOf(created), timeOf(ended)
		return q, err
	}, selectRetired, v.id, purpose, node)
	return list, v.fault("former requests", err)
}

// TrustList implements cluster.Reader.
func (v *clusterReader) TrustList(ctx context.Context, store string) ([]cluster.Trust, error) {
	if store == "" {
		return v.trust(ctx, false, selectTrust+orderTrust)
	}
	return v.trust(ctx, false, selectTrust+` AND store = ?`+orderTrust, store)
}

// TrustBySubject implements cluster.Reader.
func (v *clusterReader) TrustBySubject(ctx context.Context, store string, keys ...string) ([]cluster.Trust, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	args := []any{store}
	for _, k := range keys {
		args = append(args, k)
	}
	return v.trust(ctx, true, selectTrustDER+` AND store = ? AND subject_key IN (?`+strings.Repeat(`, ?`, len(keys)-1)+`)`+sortTrust, args...)
}

// TrustByCommonName implements cluster.Reader.
func (v *clusterReader) TrustByCommonName(ctx context.Context, store, name string) ([]cluster.Trust, error) {
	if name == "" {
		return nil, nil
	}
	return v.trust(ctx, true, selectTrustDER+` AND store = ? AND folded_name = ?`+sortTrust, store, cluster.FoldName(name))
}

// TrustByFingerprint implements cluster.Reader.
func (v *clusterReader) TrustByFingerprint(ctx context.Context, sha256 string) ([]cluster.Trust, error) {
	return v.trust(ctx, true, selectTrustDER+` AND sha256 = ?`+sortTrust, sha256)
}

// TrustCopies implements cluster.Reader.
func (v *clusterReader) TrustCopies(ctx context.Context, store, purpose string) ([]cluster.Trust, error) {
	// The origin is said in the words of the index cluster_trust_copy, so that it can be used.
	return v.trust(ctx, false, selectTrust+` AND store = ? AND of_purpose = ? AND origin = 'system'`+sortTrust, store, purpose)
}

// TrustAll implements cluster.Reader.
func (v *clusterReader) TrustAll(ctx context.Context, store string) ([]cluster.Trust, error) {
	return v.trust(ctx, true, selectTrustDER+` AND store = ?`+orderTrust, store)
}

func (v *clusterReader) trust(ctx context.Context, der bool, query string, args ...any) ([]cluster.Trust, error) {
	list, err := listOf(ctx, v.tx, trustScan(der), query, append([]any{v.id}, args...)...)
	return list, v.fault("trust certificates", err)
}

// Subject implements cluster.Reader.
func (v *clusterReader) Subject(ctx context.Context, node string) (cluster.Subject, bool, error) {
	list, err := listOf(ctx, v.tx, scanSubject, selectSubject, v.id, node)
	if err != nil || len(list) == 0 {
		return cluster.Subject{}, false, v.fault("subject settings", err)
	}
	return list[0], true, nil
}

// History implements cluster.Reader.
func (v *clusterReader) History(ctx context.Context, limit int) ([]cluster.Event, error) {
	if limit <= 0 {
		limit = -1
	}
	list, err := listOf(ctx, v.tx, func(row *sql.Rows) (e cluster.Event, err error) {
		var at sql.NullInt64
		err = row.Scan(&at, &e.Actor, &e.Action, &e.Purpose, &e.Node, &e.Before, &e.After, &e.Detail)
		e.At = timeOf(at)
		return e, err
	}, selectEvents, v.id, limit)
	return list, v.fault("history", err)
}

func (v *clusterReader) fault(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read %s: %w", what, explain(v.path, err))
}

// CheckKeys implements cluster.Store.
func (r *Clusters) CheckKeys(ctx context.Context, name string) ([]string, error) {
	tx, err := r.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	identities, err := listOf(ctx, tx, checkIdentity, selectKeys, name)
	var requests []string
	if err == nil {
		requests, err = listOf(ctx, tx, checkRequest, selectRequestKeys, name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of cluster %s: %w", name, explain(r.s.path, err))
	}
	var wrong []string
	for _, sentence := range append(identities, requests...) {
		if sentence != "" {
			wrong = append(wrong, sentence)
		}
	}
	return wrong, nil
}

// checkIdentity reads a row of selectKeys and says what is wrong with it, or nothing.
func checkIdentity(row *sql.Rows) (string, error) {
	var at cluster.Place
	var fingerprint string
	var replaced bool
	var key, der []byte
	if err := row.Scan(&at.Purpose, &at.Node, &fingerprint, &replaced, &key, &der); err != nil {
		return "", err
	}
	defer clear(key)
	object := "the certificate of " + at.String()
	if replaced {
		object = "the replaced certificate of " + at.String()
	}
	object += " with the fingerprint " + fingerprint
	x, err := x509.ParseCertificate(der)
	if err != nil {
		return object + " cannot be read", nil
	}
	return keySentence(object, key, x.RawSubjectPublicKeyInfo), nil
}

// checkRequest is checkIdentity for a row of selectRequestKeys.
func checkRequest(row *sql.Rows) (string, error) {
	var at cluster.Place
	var key, der []byte
	if err := row.Scan(&at.Purpose, &at.Node, &key, &der); err != nil {
		return "", err
	}
	defer clear(key)
	object := "the request for " + at.String()
	x, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return object + " cannot be read", nil
	}
	return keySentence(object, key, x.RawSubjectPublicKeyInfo), nil
}

func keySentence(object string, key, spki []byte) string {
	switch err := cluster.KeyFits(key, spki); {
	case err == nil:
		return ""
	case errors.Is(err, cluster.ErrKeyOther):
		return object + " has the private key of another"
	default:
		return object + " has a private key that cannot be read"
	}
}

// recordFields are where a row of recordColumns is read to.
func recordFields(r *cluster.Record, begin, end *sql.NullInt64) []any {
	return []any{
		&r.SHA256, &r.CommonName, &r.IssuerName, &r.Subject, &r.SubjectKey, &r.IssuerKey, &r.Serial, &r.KeyType, &r.KeyBits,
		begin, end, &r.SelfSigned, &r.CA, &r.KeyID, &r.Authority,
	}
}

// recordArgs appends the values of recordColumns.
func recordArgs(args []any, r *cluster.Record) []any {
	return append(args, r.SHA256, r.CommonName, r.IssuerName, r.Subject, r.SubjectKey, r.IssuerKey, r.Serial, r.KeyType, r.KeyBits,
		millis(r.NotBefore), millis(r.NotAfter), r.SelfSigned, r.CA, r.KeyID, r.Authority)
}

func scanIdentity(row *sql.Rows) (cluster.Identity, error) { return identityWith(row) }

func scanGeneration(row *sql.Rows) (g cluster.Generation, err error) {
	var replaced sql.NullInt64
	g.Identity, err = identityWith(row, &replaced)
	g.Replaced = timeOf(replaced)
	return g, err
}

// identityWith reads a row of identityColumns and more.
func identityWith(row *sql.Rows, more ...any) (i cluster.Identity, err error) {
	var begin, end, since sql.NullInt64
	fields := append([]any{&i.Purpose, &i.Node, &i.Multi}, recordFields(&i.Record, &begin, &end)...)
	err = row.Scan(append(append(fields, &i.Description, &since, &i.DER), more...)...)
	i.NotBefore, i.NotAfter, i.Since = timeOf(begin), timeOf(end), timeOf(since)
	return i, err
}

// trustScan reads rows of trustColumns, and of the DER behind them. Its memory is used for all rows, of which there may be
// thousands.
func trustScan(der bool) func(*sql.Rows) (cluster.Trust, error) {
	var t cluster.Trust
	var begin, end, added sql.NullInt64
	fields := append([]any{&t.Store, &t.Node}, recordFields(&t.Record, &begin, &end)...)
	fields = append(fields, &t.Origin, &t.Of, &t.OfNode, &t.Description, &added)
	if der {
		fields = append(fields, &t.DER)
	}
	return func(row *sql.Rows) (cluster.Trust, error) {
		err := row.Scan(fields...)
		t.NotBefore, t.NotAfter, t.Added = timeOf(begin), timeOf(end), timeOf(added)
		return t, err
	}
}

func scanSubject(row *sql.Rows) (s cluster.Subject, err error) {
	var units, names sql.NullString
	if err := row.Scan(&s.Node, &units, &s.Organization, &s.Locality, &s.State, &s.Country, &names); err != nil {
		return s, err
	}
	if s.Units, err = texts(units); err == nil {
		s.AlternateHostNames, err = texts(names)
	}
	if err != nil {
		return s, fmt.Errorf("decode the subject settings of %s: %w", s.Node, err)
	}
	return s, nil
}

// texts is the list of a JSON column value, nil for NULL.
func texts(v sql.NullString) (list []string, err error) {
	if v.Valid {
		err = json.Unmarshal([]byte(v.String), &list)
	}
	return list, err
}
