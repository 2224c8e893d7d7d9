package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"callsign/internal/cluster"
)

const (
	nextRevision  = `UPDATE cluster SET revision = revision + 1 WHERE name = ? AND revision = ? RETURNING id`
	insertCluster = `INSERT INTO cluster (name, revision) VALUES (?, 1) ON CONFLICT (name) DO NOTHING RETURNING id`

	atPlace       = ` WHERE cluster = ? AND purpose = ? AND node = ?`
	deleteRequest = `DELETE FROM cluster_request` + atPlace
	insertRequest = `INSERT INTO cluster_request (cluster, purpose, node, key_hash, created, key, der) VALUES (?, ?, ?, ?, ?, ?, ?)`
	selectKey     = `SELECT key FROM cluster_request` + atPlace
	insertRetired = `INSERT INTO cluster_retired (cluster, purpose, node, key_hash, created, ended) VALUES (?, ?, ?, ?, ?, ?)`
	pruneRetired  = `DELETE FROM cluster_retired WHERE cluster = ?1 AND purpose = ?2 AND node = ?3 AND seq NOT IN (
		SELECT seq FROM cluster_retired WHERE cluster = ?1 AND purpose = ?2 AND node = ?3 ORDER BY seq DESC LIMIT ?4)`
	replaceIdentity = `UPDATE cluster_identity SET replaced = ? WHERE cluster = ? AND purpose = ? AND node = ? AND replaced IS NULL`
	deleteForgotten = `DELETE FROM cluster_identity WHERE cluster = ? AND replaced < ?`
	deleteTrust     = `DELETE FROM cluster_trust WHERE cluster = ? AND store = ? AND node = ? AND sha256 = ?`
	insertTrustDER  = `INSERT INTO cluster_trust_der (id, der) VALUES (?, ?)`
	highestEvent    = `SELECT coalesce(max(number), 0) FROM cluster_event WHERE cluster = ?`
	pruneEvents     = `DELETE FROM cluster_event WHERE cluster = ? AND number <= ?`
)

var (
	insertIdentity = `INSERT INTO cluster_identity (cluster, key, ` + identityColumns + `) VALUES (?, ?, ` + marksFor(identityColumns) + `)`
	insertTrust    = `INSERT INTO cluster_trust (cluster, folded_name, ` + trustColumns + `) VALUES (?, ?, ` + marksFor(trustColumns) + `)
		ON CONFLICT (cluster, store, node, sha256) DO NOTHING`
	replaceSubject = `INSERT OR REPLACE INTO cluster_subject (cluster, ` + subjectColumns + `) VALUES (?, ` + marksFor(subjectColumns) + `)`
	insertEvent    = `INSERT INTO cluster_event (cluster, number, ` + eventColumns + `) VALUES (?, ?, ` + marksFor(eventColumns) + `)`
)

// Apply implements cluster.Store.
func (r *Clusters) Apply(ctx context.Context, name string, c *cluster.Change) error {
	if err := c.Check(); err != nil { // takes long for RSA keys: not in the writer's time
		return err
	}
	return r.s.write(ctx, func(ctx context.Context, tx *tx) error {
		id, err := advance(ctx, tx, name, c.Revision)
		if err != nil {
			return err
		}
		w := &clusterWriter{tx: tx, id: id, at: c.At}
		if w.at.IsZero() {
			w.at = r.s.now()
		}
		err = w.apply(ctx, c)
		if _, ok := errors.AsType[*cluster.Problem](err); err == nil || ok {
			return err
		}
		return fmt.Errorf("change cluster %s: %w", name, explain(r.s.path, err))
	})
}

// advance takes a cluster from a revision to the next and returns its id.
func advance(ctx context.Context, tx *tx, name string, revision int64) (id int64, err error) {
	err = tx.QueryRowContext(ctx, nextRevision, name, revision).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) && revision == 0 {
		err = tx.QueryRowContext(ctx, insertCluster, name).Scan(&id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return 0, cluster.ErrChanged
	}
	if err != nil {
		return 0, fmt.Errorf("change cluster %s: %w", name, err)
	}
	return id, nil
}

// clusterWriter makes a change inside of a write.
type clusterWriter struct {
	tx *tx
	id int64
	at time.Time
}

func (w *clusterWriter) apply(ctx context.Context, c *cluster.Change) error {
	for _, at := range c.DropRequests {
		if there, err := w.retire(ctx, at); err != nil {
			return err
		} else if !there {
			return cluster.NoRequest(at)
		}
	}
	for i := range c.AddRequests {
		if err := w.addRequest(ctx, &c.AddRequests[i]); err != nil {
			return err
		}
	}
	for i := range c.Install {
		if err := w.install(ctx, &c.Install[i]); err != nil {
			return err
		}
	}
	for _, at := range c.DropTrust {
		if n, err := w.exec(ctx, deleteTrust, w.id, at.Store, at.Node, at.SHA256); err != nil {
			return err
		} else if n == 0 {
			return cluster.NoTrust(at)
		}
	}
	for i := range c.AddTrust {
		if err := w.addTrust(ctx, &c.AddTrust[i]); err != nil {
			return err
		}
	}
	for i := range c.Subjects {
		if err := w.setSubject(ctx, &c.Subjects[i]); err != nil {
			return err
		}
	}
	if err := w.addEvents(ctx, c.Events); err != nil {
		return err
	}
	return w.forget(ctx, c.ForgetBefore)
}

// exec returns how many rows were changed.
func (w *clusterWriter) exec(ctx context.Context, query string, args ...any) (int64, error) {
	res, err := w.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// or returns t, or the time of the change for the zero time.
func (w *clusterWriter) or(t time.Time) sql.NullInt64 {
	if t.IsZero() {
		t = w.at
	}
	return millis(t)
}

// retire takes a request and its key away and remembers the hash. It returns false when there is none.
func (w *clusterWriter) retire(ctx context.Context, at cluster.Place) (there bool, err error) {
	var keyHash string
	var created sql.NullInt64
	err = w.tx.QueryRowContext(ctx, deleteRequest+` RETURNING key_hash, created`, w.id, at.Purpose, at.Node).Scan(&keyHash, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := w.exec(ctx, insertRetired, w.id, at.Purpose, at.Node, keyHash, created, millis(w.at)); err != nil {
		return false, err
	}
	_, err = w.exec(ctx, pruneRetired, w.id, at.Purpose, at.Node, cluster.MaxRetired)
	return true, err
}

func (w *clusterWriter) addRequest(ctx context.Context, q *cluster.NewRequest) error {
	if _, err := w.retire(ctx, cluster.Place{Purpose: q.Purpose, Node: q.Node}); err != nil {
		return err
	}
	_, err := w.exec(ctx, insertRequest, w.id, q.Purpose, q.Node, q.KeyHash, w.or(q.Created), q.Key, q.DER)
	return err
}

func (w *clusterWriter) install(ctx context.Context, in *cluster.Install) error {
	key := in.Key
	if in.From != nil {
		var err error
		if key, err = w.keyOf(ctx, in); err != nil {
			return err
		}
		defer clear(key)
		if _, err := w.exec(ctx, deleteRequest, w.id, in.From.Purpose, in.From.Node); err != nil {
			return err
		}
	}
	for _, node := range in.Nodes {
		if _, err := w.exec(ctx, replaceIdentity, millis(w.at), w.id, in.Purpose, node); err != nil {
			return err
		}
		args := recordArgs([]any{w.id, key, in.Purpose, node, in.Multi}, &in.Record)
		if _, err := w.exec(ctx, insertIdentity, append(args, in.Description, w.or(in.Since), in.DER)...); err != nil {
			return err
		}
	}
	return nil
}

// keyOf returns the key of the request that in consumes, when it is that of the certificate.
func (w *clusterWriter) keyOf(ctx context.Context, in *cluster.Install) (key []byte, err error) {
	err = w.tx.QueryRowContext(ctx, selectKey, w.id, in.From.Purpose, in.From.Node).Scan(&key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, cluster.NoRequest(*in.From)
	}
	if err != nil {
		return nil, err
	}
	spki, err := in.PublicKey()
	if err == nil {
		if err = cluster.KeyFits(key, spki); err != nil {
			err = cluster.KeyProblem("the certificate for "+in.From.String(), err)
		}
	}
	if err != nil {
		clear(key)
		return nil, err
	}
	return key, nil
}

func (w *clusterWriter) addTrust(ctx context.Context, t *cluster.Trust) error {
	args := recordArgs([]any{w.id, cluster.FoldName(t.CommonName), t.Store, t.Node}, &t.Record)
	res, err := w.tx.ExecContext(ctx, insertTrust, append(args, string(t.Origin), t.Of, t.OfNode, t.Description, w.or(t.Added))...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return err // it is there
	}
	id, err := res.LastInsertId()
	if err != nil {
		return err
	}
	_, err = w.exec(ctx, insertTrustDER, id, t.DER)
	return err
}

func (w *clusterWriter) setSubject(ctx context.Context, s *cluster.Subject) error {
	units, err := jsonText(s.Units, len(s.Units) > 0)
	if err != nil {
		return fmt.Errorf("encode the units of %s: %w", s.Node, err)
	}
	names, err := jsonText(s.AlternateHostNames, len(s.AlternateHostNames) > 0)
	if err != nil {
		return fmt.Errorf("encode the alternate host names of %s: %w", s.Node, err)
	}
	_, err = w.exec(ctx, replaceSubject, w.id, s.Node, units, s.Organization, s.Locality, s.State, s.Country, names)
	return err
}

func (w *clusterWriter) addEvents(ctx context.Context, events []cluster.Event) error {
	if len(events) == 0 {
		return nil
	}
	var number int64
	if err := w.tx.QueryRowContext(ctx, highestEvent, w.id).Scan(&number); err != nil {
		return err
	}
	for i := range events {
		e := &events[i]
		number++
		if _, err := w.exec(ctx, insertEvent, w.id, number, w.or(e.At), e.Actor, e.Action, e.Purpose, e.Node, e.Before, e.After, e.Detail); err != nil {
			return err
		}
	}
	_, err := w.exec(ctx, pruneEvents, w.id, number-cluster.EventsKept)
	return err
}

// forget ends generations and their keys.
func (w *clusterWriter) forget(ctx context.Context, before time.Time) error {
	if before.IsZero() {
		return nil
	}
	_, err := w.exec(ctx, deleteForgotten, w.id, before.UnixMilli())
	return err
}
