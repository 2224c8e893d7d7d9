package cli

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"callsign/chain"
	"callsign/internal/app"
	"callsign/internal/certfile"
	"callsign/internal/cluster"
	"callsign/internal/cluster/upload"
	"callsign/internal/config"
)

// judgeFiles judges the file by a request and a trust store that are files as well.
func (u *certUpload) judgeFiles() error {
	now, err := u.clock()
	if err != nil {
		return err
	}
	at := time.Now()
	if now != nil {
		at = now()
	}
	judge := &upload.Judge{Purpose: u.purpose, Policy: u.policy(), At: at}
	var failed []error
	collect := func(err error) { failed = append(failed, separate(err)...) }
	if u.csr != "" {
		judge.Request, err = u.request()
		collect(err)
	}
	if u.trustDir != "" {
		judge.Trust, err = trustFiles(u.trustDir)
		collect(err)
	}
	file, err := u.read()
	collect(err)
	if err := errors.Join(failed...); err != nil {
		return err
	}
	out := &cluster.Outcome{Result: judge.Judge(file), Purpose: u.purpose}
	u.nameFiles(out)
	return u.report(out, nil, at)
}

// nameFiles puts first which file was not given, when its lack is what refuses.
func (u *certUpload) nameFiles(out *cluster.Outcome) {
	for i := range out.Reasons {
		r, fix := &out.Reasons[i], ""
		switch {
		case r.Code == upload.CSRMissing && u.csr == "":
			fix = "name the request that waits on the node with --csr FILE"
		case r.Code == upload.CANotInTrust && u.trustDir == "":
			fix = "name what the node has in its trust store with --trust-dir DIR: without it the store is taken as empty"
		default:
			continue
		}
		r.Fixes = slices.Insert(slices.Clone(r.Fixes), 0, fix)
	}
}

// policy is that of the configuration, if there is one: without it the defaults hold.
func (u *certUpload) policy() upload.Policy {
	c, err := config.Load(u.env.config)
	switch {
	case err == nil:
		return app.UploadPolicy(c)
	case !isFile(u.env.config):
	default:
		var why []string
		for _, err := range separate(err) {
			why = append(why, oneLine(err.Error()))
		}
		u.env.warn("the settings of [cluster] do not count, because the configuration cannot be used: " + strings.Join(why, "; "))
	}
	return upload.Policy{}
}

// request reads the one request of --csr.
func (u *certUpload) request() (*x509.CertificateRequest, error) {
	reader := &certReader{env: u.env}
	contents, err := reader.file(u.csr, false)
	if err != nil {
		return nil, err
	}
	in := &certInput{source: u.csr, objects: contents.Objects}
	requests := contents.Requests()
	switch len(requests) {
	case 0:
		return nil, in.nothing("certification request")
	case 1:
		return requests[0], nil
	default:
		return nil, &certfile.Error{
			Path: sourceName(u.csr), ErrCode: certfile.CodeUnsupported, Detail: "holds several certification requests, of which one at most can wait",
			Fix: "leave the one request in the file that was sent to the CA",
		}
	}
}

// trustFiles reads the certificates of a directory in the order of its files' names. Hidden files and directories are passed
// over; a file that cannot be read is an error, because the judgement would be another one with it.
func trustFiles(dir string) ([]*chain.Certificate, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, dirError(dir, err)
	}
	var certs []*chain.Certificate
	var failed []error
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		info, err := os.Stat(path) // a link counts as what it leads to
		if strings.HasPrefix(entry.Name(), ".") || err == nil && info.IsDir() {
			continue
		}
		if err == nil && !info.Mode().IsRegular() {
			failed = append(failed, &certfile.Error{
				Path: path, ErrCode: certfile.CodeUnreadable, Detail: "is no regular file", Fix: "take it out of the directory",
			})
			continue
		}
		found, err := certfile.LoadCertificates(path)
		if err != nil {
			for _, err := range separate(err) {
				if e, ok := errors.AsType[*certfile.Error](err); ok && e.ErrCode == certfile.CodeEmpty {
					e.Fix = "take it out of the directory: what is in there is the trust store"
				}
				failed = append(failed, err)
			}
			continue
		}
		certs = append(certs, chain.OfAll(found)...)
	}
	return certs, errors.Join(failed...)
}

func dirError(dir string, err error) error {
	e := &certfile.Error{
		Path: dir, ErrCode: certfile.CodeUnreadable, Detail: "cannot be read as a directory", Err: err,
		Fix: "name a directory with the certificates of the trust store, one certificate or bundle per file",
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		e.Err = pathErr.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		e.ErrCode, e.Detail, e.Err = certfile.CodeMissing, "there is no such directory", nil
		e.Fix = "check the name; for an empty trust store name an empty directory"
	}
	return e
}
