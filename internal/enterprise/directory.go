package enterprise

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"callsign/internal/certfile"
	"callsign/internal/secret"
)

// The files of an enterprise's directory that others read.
const (
	CAFile           = "ca.pem" // newest issuing CA and root: what clients trust
	AgentFile        = "agent.pem"
	AgentKeyFile     = "agent.key"
	PasswordFile     = "password.txt"
	LogDir           = "logs"
	markFile         = "enterprise.json"
	formatVersion    = 1
	directoryTooMany = 3 // names of strange files that are told
)

// mark is what tells the directory of an enterprise from any other.
type mark struct {
	Kind    string `json:"kind"`
	Version int    `json:"version"`
}

const kind = "Callsign simulated enterprise"

// prepare makes the directory, or takes one that an enterprise has made before, and no other that has something in it.
func prepare(dir string) error {
	bad := func(err error) error {
		return &Problem{
			ErrCode: CodeDirectory, Detail: fmt.Sprintf("the directory %s cannot be used: %v", dir, err), Err: err,
			Fix: "choose another directory with --dir, or give the user that runs this program the right to write it",
		}
	}
	if err := os.MkdirAll(filepath.Join(dir), 0o700); err != nil {
		return bad(err)
	}
	path := filepath.Join(dir, markFile)
	data, err := os.ReadFile(path) //nolint:gosec // the directory is the user's choice
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := strange(dir); err != nil {
			return err
		}
		data, err = json.Marshal(mark{kind, formatVersion})
		if err != nil {
			return bad(err)
		}
		if err := certfile.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			return err
		}
	case err != nil:
		return bad(err)
	default:
		var m mark
		if err := json.Unmarshal(data, &m); err != nil || m.Kind != kind || m.Version != formatVersion {
			return &Problem{
				ErrCode: CodeDirectory, Detail: fmt.Sprintf("%s is not of a simulated enterprise that this version knows", path),
				Fix: "choose another directory with --dir",
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, LogDir), 0o750); err != nil {
		return bad(err)
	}
	return nil
}

// strange refuses a directory in which somebody else has files.
func strange(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return &Problem{
			ErrCode: CodeDirectory, Detail: fmt.Sprintf("the directory %s cannot be read: %v", dir, err), Err: err,
			Fix: "choose another directory with --dir",
		}
	}
	if len(entries) == 0 {
		return nil
	}
	var names []string
	for _, e := range entries[:min(len(entries), directoryTooMany)] {
		names = append(names, e.Name())
	}
	if len(entries) > directoryTooMany {
		names = append(names, "...")
	}
	return &Problem{
		ErrCode: CodeDirectory, Detail: fmt.Sprintf("the directory %s holds other things (%s) and no simulated enterprise; nothing was changed", dir, strings.Join(names, ", ")),
		Fix: "choose an empty or a new directory with --dir",
	}
}

// password returns the account's: the given one, else that of the directory, which is made when it is missing.
func password(dir string, given secret.String) (secret.String, error) {
	if !given.IsZero() {
		return given, nil
	}
	path := filepath.Join(dir, PasswordFile)
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = certfile.WriteFile(path, []byte(rand.Text()+"\n"), 0o600)
	}
	if err != nil {
		return secret.String{}, err
	}
	return secret.FromFile(path)
}
