package app

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"callsign/internal/ca/adcs"
	"callsign/internal/ca/local"
	"callsign/internal/config"
)

// Reloaded says what a reload did.
type Reloaded struct {
	Changed []string `json:"changed"` // keys whose new value is in force
	Restart []string `json:"restart"` // keys whose new value waits for the next start
}

// Reload reads the configuration anew and goes on with it: certificates of the listeners, credentials, labels, policies,
// authorities and everything else that needs no new listener and no other database. Files are read again even where no key
// changed. Connections and requests under way are not touched. With an error everything stays as it was.
func (a *App) Reload(ctx context.Context) (*Reloaded, error) {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	if a.run.Err() != nil {
		return nil, &Problem{ErrCode: "app.reload", Detail: "the server is stopping", Fix: "nothing: the next start reads the configuration"}
	}
	done, err := a.reload()
	if err != nil {
		a.log.ErrorContext(ctx, "configuration not reloaded; the old one stays in force", slog.String("event", "app.reload_failed"), slog.String("err", err.Error()))
		return nil, err
	}
	a.log.InfoContext(ctx, "configuration reloaded", slog.String("event", "app.reloaded"), slog.Any("changed", done.Changed), slog.Any("restart", done.Restart))
	return done, nil
}

func (a *App) reload() (*Reloaded, error) {
	if a.load == nil {
		return nil, &Problem{ErrCode: "app.reload", Detail: "this server was started without a configuration file", Fix: "start it anew"}
	}
	read, err := a.load()
	if err != nil {
		return nil, err
	}
	if err := read.CheckFiles(); err != nil {
		return nil, err
	}
	old := a.current()
	effective, changes := config.Effective(old.config, read)
	if err := effective.Check(); err != nil {
		return nil, keptTooMuch(changes, err)
	}
	done := &Reloaded{Changed: []string{}, Restart: []string{}}
	for _, c := range changes {
		if c.NeedsRestart {
			done.Restart = append(done.Restart, c.Key)
		} else {
			done.Changed = append(done.Changed, c.Key)
		}
	}
	next, err := a.newGeneration(effective)
	if err != nil {
		return nil, err
	}
	if next.ra != nil && old.ra != nil {
		next.ra.Inherit(old.ra, func(authority string) bool { return sameCA(old, next, authority) })
	}
	a.replace(next)
	if a.level != nil {
		a.level.Set(effective.Log.SlogLevel())
	}
	next.start(a.run)
	a.wg.Go(old.retire)
	if err := a.writeEndpoints(); err != nil { // for scripts only, and the listeners are where they were
		a.log.WarnContext(a.run, "the file that tells scripts where everything is could not be written", slog.String("code", "app.reload"), slog.String("err", err.Error()),
			slog.String("remedy", "make the directory of the database writable for the account that callsign serve runs as, and check that its disk is not full"))
	}
	return done, nil
}

// sameCA tells whether an authority of this name asks the same CA in both generations.
func sameCA(old, next *generation, authority string) bool {
	switch authority {
	case local.Name:
		a, b := old.issuers.local, next.issuers.local
		return a != nil && b != nil && a.Issuer.Certificate.Equal(b.Issuer.Certificate)
	case adcs.Name:
		return old.config.ADCS.URL == next.config.ADCS.URL
	}
	return false
}

// keptTooMuch is the answer to a configuration that is right by itself, and wrong with what stays until a restart: a listener
// without the certificate that the file has no more. Whoever reads what is missing looks for it in the file in vain.
func keptTooMuch(changes []config.Change, missing error) error {
	var kept []string
	for _, c := range changes {
		if c.NeedsRestart {
			kept = append(kept, c.Key)
		}
	}
	return &Problem{
		ErrCode: "app.reload",
		Detail: fmt.Sprintf("the new configuration needs a restart: until then the old %s would stay, and with that %s",
			strings.Join(kept, ", "), strings.ReplaceAll(missing.Error(), "\n", "; ")),
		Fix: "restart the server: the file itself is valid; or leave in it, until then, what is missing",
	}
}
