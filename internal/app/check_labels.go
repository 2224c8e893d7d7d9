package app

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"callsign/internal/certfile"
	"callsign/internal/config"
	"callsign/internal/ra"
)

// labels looks at what the EST labels are made of: files that several of them share once.
func (k *checker) labels() {
	users, anchors := map[string]bool{}, map[string]bool{}
	for _, l := range profiles(k.c) {
		if file := cmp.Or(l.UsersFile, k.c.EST.UsersFile); file != "" && !users[file] {
			users[file] = true
			k.users(file)
		}
		if file := cmp.Or(l.ClientCAFile, k.c.EST.ClientCAFile); file != "" && !anchors[file] {
			anchors[file] = true
			k.anchors("est client cas", file)
		}
	}
	for _, file := range k.c.RA.RolloverFiles {
		k.anchors("ra rollover", file)
	}
	for _, file := range k.c.EST.CRLFiles {
		k.crls(file)
	}
	for _, l := range k.c.Labels {
		k.ok("label "+l.Name, "/.well-known/est/"+l.Name, "%s", describe(l.Profile, k.c))
	}
}

// describe is a profile in a line: who signs and who may ask.
func describe(p config.Profile, c *config.Config) string {
	words := []string{"signed by the local CA"}
	if p.Authority == config.AuthorityADCS {
		words[0] = "signed by AD CS with template " + cmp.Or(p.Template, c.ADCS.Template)
	}
	switch p.Authentication {
	case config.AuthenticateCertificate:
		words = append(words, "for clients with a certificate")
	case config.AuthenticatePassword:
		words = append(words, "for clients with a password")
	case config.AuthenticateBoth:
		words = append(words, "for clients with a certificate and a password")
	default:
		words = append(words, "for clients with a certificate or a password")
	}
	if p.Approval {
		words = append(words, "after approval")
	}
	return strings.Join(words, ", ")
}

// users looks at a users file: nobody can log in with a line that does not parse.
func (k *checker) users(path string) {
	f, err := os.Open(path) //nolint:gosec // the administrator names the file
	if err != nil {
		return // reported with the files
	}
	defer func() { _ = f.Close() }() // it was only read
	hashes, faults, err := ra.ParseUsers(f)
	switch {
	case err != nil:
		k.failed("est users", path, err)
	case len(faults) > 0:
		k.warn("est users", path, codeUsers, errors.Join(faults...).Error(), "write one NAME:HASH a line, for example with: htpasswd -B "+path+" NAME")
	case len(hashes) == 0:
		k.warn("est users", path, codeUsers, "names nobody", "add a user with: htpasswd -B "+path+" NAME")
	default:
		k.ok("est users", path, "%d user%s", len(hashes), plural(len(hashes)))
	}
}

// anchors looks at a file of CA certificates.
func (k *checker) anchors(name, path string) {
	certs, err := certfile.LoadCertificates(path)
	if errors.Is(err, fs.ErrNotExist) {
		return // reported with the files
	}
	if err != nil {
		k.failed(name, path, err)
		return
	}
	for _, c := range certs {
		if !k.dates(name, path, c) {
			return
		}
	}
	k.ok(name, path, "%d certificate%s", len(certs), plural(len(certs)))
}

// crls looks at a file of CRLs: one that is out of date tells of nobody who was revoked since.
func (k *checker) crls(path string) {
	const name = "est crls"
	lists, err := certfile.LoadRevocationLists(path)
	if errors.Is(err, fs.ErrNotExist) {
		return // reported with the files
	}
	if err != nil {
		k.failed(name, path, err)
		return
	}
	for _, l := range lists {
		if !l.NextUpdate.IsZero() && k.now().After(l.NextUpdate) {
			k.warn(name, path, codeCRL, fmt.Sprintf("the CRL of %s was to be replaced at %s", l.Issuer, utc(l.NextUpdate)), "put the CA's present CRL into the file; fetch it regularly")
			return
		}
	}
	k.ok(name, path, "%d CRL%s", len(lists), plural(len(lists)))
}

// templates are the templates that requests name, each once.
func (k *checker) templates() []string {
	all := []string{k.c.ADCS.Template}
	for _, l := range profiles(k.c) {
		if l.Authority == config.AuthorityADCS && l.Template != "" && !slices.Contains(all, l.Template) {
			all = append(all, l.Template)
		}
	}
	return slices.DeleteFunc(all, func(t string) bool { return t == "" })
}
