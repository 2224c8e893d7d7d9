package store

import (
	"bytes"
	"context"
	"crypto/x509"
	"database/sql"
	"embed"
	"encoding/asn1"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"

	"callsign/internal/fleet"
)

//go:embed migrations/*.sql
var migrations embed.FS

// provider knows every migration: the SQL files, and what SQL cannot do.
func provider(db *sql.DB) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true),
		goose.WithGoMigrations(goose.NewGoMigration(5, &goose.GoFunc{RunTx: migration5}, nil)))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

// migration5 does for the records of schema 3 what SQL cannot.
func migration5(ctx context.Context, tx *sql.Tx) error {
	return errors.Join(foldSearch(ctx, tx), readLSCs(ctx, tx))
}

// foldSearch writes the column search anew where SQL's lower, which knows ASCII only, left capitals.
func foldSearch(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, `SELECT name, model FROM device WHERE model GLOB '*[^ -~]*'`)
	if err != nil {
		return err
	}
	var found []fleet.Device
	for rows.Next() {
		var d fleet.Device
		if err := rows.Scan(&d.Name, &d.Model); err != nil {
			return errors.Join(err, rows.Close()) //nolint:sqlclosecheck // a read that failed is closed here, one that did not below
		}
		found = append(found, d)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	for i := range found {
		if _, err := tx.ExecContext(ctx, `UPDATE device SET search = ? WHERE name = ?`, search(&found[i]), found[i].Name); err != nil {
			return err
		}
	}
	return nil
}

// readLSCs looks at the LSCs. Records of schema 3 have their LSC and nothing of its begin and of who issued it: the begin is
// in the certificate, the issuer's certificate in the journal's row. An LSC of which one of them cannot be read stays without it.
func readLSCs(ctx context.Context, tx *sql.Tx) error {
	type held struct {
		name string
		lsc  []byte
	}
	for after, more := "", true; more; {
		var batch []held
		rows, err := tx.QueryContext(ctx, `SELECT name, lsc FROM device WHERE lsc IS NOT NULL AND name > ? ORDER BY name LIMIT ?`, after, replanBatch)
		if err != nil {
			return err
		}
		for rows.Next() {
			var h held
			if err := rows.Scan(&h.name, &h.lsc); err != nil {
				return errors.Join(err, rows.Close()) //nolint:sqlclosecheck // closed in each round of the loop
			}
			batch = append(batch, h)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			return err
		}
		for _, h := range batch {
			if err := readLSC(ctx, tx, h.name, h.lsc); err != nil {
				return fmt.Errorf("read the LSC of %s: %w", h.name, err)
			}
		}
		if more = len(batch) == replanBatch; more {
			after = batch[len(batch)-1].name
		}
	}
	return nil
}

func readLSC(ctx context.Context, tx *sql.Tx, name string, lsc []byte) error {
	if c, err := x509.ParseCertificate(lsc); err == nil {
		if _, err := tx.ExecContext(ctx, `UPDATE device SET lsc_not_before = ? WHERE name = ?`, millis(c.NotBefore), name); err != nil {
			return err
		}
	}
	// The columns of that schema by name: later ones have more.
	var chain []byte
	var updated sql.NullInt64
	err := tx.QueryRowContext(ctx, `SELECT chain, updated FROM enrolment WHERE owner = ? AND certificate = ? ORDER BY seq DESC LIMIT 1`, "phone:"+name, lsc).
		Scan(&chain, &updated)
	if err != nil || len(chain) == 0 {
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	}
	var first asn1.RawValue
	if _, err := asn1.Unmarshal(chain, &first); err != nil {
		return fmt.Errorf("decode the chain: %w", err)
	}
	if bytes.Equal(first.FullBytes, lsc) {
		return nil
	}
	id := fleet.IssuerID(first.FullBytes)
	if err := putIssuer(ctx, tx, id, first.FullBytes, timeOf(updated)); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE device SET lsc_issuer_id = ? WHERE name = ?`, id, name)
	return err
}
