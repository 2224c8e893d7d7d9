package app

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"callsign/chain"
	"callsign/internal/certfile"
	"callsign/internal/config"
)

// revocation knows which certificates of clients are not to be trusted any more: those in the CRLs of est.crl_files, and those
// in capf.distrusted.
type revocation struct {
	files      []string
	distrusted []string // SHA-256 in hex
	now        func() time.Time
	log        *slog.Logger

	mu    sync.Mutex
	read  map[string]time.Time // modification time by file
	lists map[string][]*x509.RevocationList
}

// newRevocation reads the CRLs of a configuration.
func (g *generation) newRevocation() (*revocation, error) {
	c := g.config
	r := &revocation{
		files: c.EST.CRLFiles, now: g.now, log: g.log, read: map[string]time.Time{}, lists: map[string][]*x509.RevocationList{},
	}
	for _, text := range c.CAPF.Distrusted {
		r.distrusted = append(r.distrusted, config.Fingerprint(text))
	}
	for _, file := range r.files {
		if err := r.load(file); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// load reads a file when it has changed. r.mu is held, or nobody else has r yet.
func (r *revocation) load(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if r.read[file].Equal(info.ModTime()) {
		return nil
	}
	lists, err := certfile.LoadRevocationLists(file)
	if err != nil {
		return err
	}
	r.lists[file], r.read[file] = lists, info.ModTime()
	return nil
}

// all returns the CRLs. A file that cannot be read any more leaves what was read before in force.
func (r *revocation) all(ctx context.Context) []*x509.RevocationList {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*x509.RevocationList
	for _, file := range r.files {
		if err := r.load(file); err != nil {
			r.log.WarnContext(ctx, "CRL not read anew; the one before stays in force", slog.String("code", codeCRL), slog.String("path", file), slog.String("err", err.Error()),
				slog.String("remedy", "put the CA's present CRL, as PEM or DER, into the file"))
		}
		out = append(out, r.lists[file]...)
	}
	return out
}

// check tells why the first certificate of a path, or one above it, is not to be trusted any more.
func (r *revocation) check(ctx context.Context, path []*x509.Certificate) error {
	for _, c := range path {
		sum := sha256.Sum256(c.Raw)
		if slices.Contains(r.distrusted, hex.EncodeToString(sum[:])) {
			return fmt.Errorf("%s is in capf.distrusted", c.Subject)
		}
	}
	if len(r.files) == 0 || len(path) < 2 {
		return nil
	}
	top := chain.NewStore()
	top.Add(chain.Anchor{Certificate: chain.Of(path[len(path)-1]), Partial: true, MinRSABits: 1024})
	v := chain.Verifier{Anchors: top, CRLs: r.all(ctx), Usage: chain.Any, Now: r.now}
	result := v.Verify(chain.OfAll(path[:len(path)-1]), "")
	for i := range result.Faults {
		if f := &result.Faults[i]; f.Code == chain.Revoked {
			return errors.New(f.Detail)
		}
	}
	return nil
}
