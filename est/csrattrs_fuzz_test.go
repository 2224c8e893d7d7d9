package est_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"callsign/est"
)

// FuzzParseCSRAttrs: what is read is written as the same bytes, and a template as one that means the same.
func FuzzParseCSRAttrs(f *testing.F) {
	for _, pattern := range []string{"testdata/csrattrs/*.b64", "testdata/rfc/*csrattrs*.b64"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			f.Fatalf("no files %s: %v", pattern, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			if der, err := est.DecodeBody(text); err == nil {
				f.Add(der)
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		a, err := est.ParseCSRAttrs(der)
		if err != nil {
			return
		}
		again, err := a.Marshal()
		if err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x becomes %x, %v", der, again, err)
		}
		said(a)
		template := a.Template()
		if template == nil {
			return
		}
		one, err := est.TemplateAttr(template)
		if err != nil {
			t.Fatalf("%+v: %v", template, err)
		}
		b := &est.CSRAttrs{Elements: []est.CSRAttr{one}}
		if der, err = b.Marshal(); err != nil {
			t.Fatal(err)
		}
		if _, err = est.ParseCSRAttrs(der); err != nil {
			t.Fatalf("%x: %v", der, err)
		}
	})
}
