package app

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"

	"callsign/internal/certfile"
)

// EndpointsFile is the name of the file, beside the database, that tells scripts where everything is.
const EndpointsFile = "endpoints.json"

// Endpoints is what that file holds. Paths are relative to its directory where they lie below it.
type Endpoints struct {
	CAPF            string `json:"capf,omitempty"`
	CAPFLegacy      string `json:"capf_legacy,omitempty"`
	CAPFPlain       string `json:"capf_plain,omitempty"`
	EST             string `json:"est,omitempty"`
	ESTUser         string `json:"est_user,omitempty"`
	ESTPasswordFile string `json:"est_password_file,omitempty"`
	ESTCAFile       string `json:"est_ca_file,omitempty"`
	Certsrv         string `json:"certsrv,omitempty"`
	CAFile          string `json:"ca_file,omitempty"`
}

// Dir is where the App keeps what it writes: the directory of the database.
func (a *App) Dir() string { return filepath.Dir(a.config.Store.Path) }

// Endpoints returns where the App listens and which files its clients need.
func (a *App) Endpoints() Endpoints {
	c := a.current().config
	e := Endpoints{CAFile: CAFile}
	for _, l := range []struct {
		at net.Addr
		to *string
	}{{a.capfAddr, &e.CAPF}, {a.legacyAddr, &e.CAPFLegacy}, {a.plainAddr, &e.CAPFPlain}} {
		if l.at != nil {
			*l.to = reachable(l.at.String())
		}
	}
	if a.estAddr != nil {
		e.EST = "https://" + reachable(a.estAddr.String()) + "/.well-known/est"
		e.ESTUser, e.ESTPasswordFile = c.EST.LabUser, a.relative(c.EST.LabPasswordFile)
		e.ESTCAFile = a.relative(c.EST.LabCAFile)
	}
	if c.UsesADCS() {
		e.Certsrv = c.ADCS.URL
	}
	return e
}

func (a *App) relative(path string) string {
	if path == "" {
		return ""
	}
	if rel, err := filepath.Rel(a.Dir(), path); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return path
}

func (a *App) writeEndpoints() error {
	b, err := json.MarshalIndent(a.Endpoints(), "", "  ")
	if err != nil {
		return fmt.Errorf("encode endpoints: %w", err)
	}
	return certfile.WriteFile(filepath.Join(a.Dir(), EndpointsFile), append(b, '\n'), 0o644)
}
