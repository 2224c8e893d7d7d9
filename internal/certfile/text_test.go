package certfile_test

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"callsign/internal/certfile"
)

// utf16Text returns text in UTF-16 without a byte order mark.
func utf16Text(text string, order binary.AppendByteOrder) []byte {
	var data []byte
	for _, u := range utf16.Encode([]rune(text)) {
		data = order.AppendUint16(data, u)
	}
	return data
}

// TestParseText reads one certificate in what editors, mail and copying make of its text.
func TestParseText(t *testing.T) {
	t.Parallel()
	good := strings.ReplaceAll(read(t, "tomcat-good-crlf.pem"), "\r\n", "\n")
	bare := read(t, "tomcat-good-bare-base64.txt")
	packed := strings.Join(strings.Fields(bare), "")
	want := der(t, "tomcat-good-crlf.pem")
	wrap := func(width int) string {
		var lines []string
		for rest := packed; rest != ""; {
			n := min(width, len(rest))
			lines, rest = append(lines, rest[:n]), rest[n:]
		}
		return strings.Join(lines, "\n")
	}
	if !strings.HasSuffix(packed, "=") {
		t.Fatal("the test of missing padding needs some")
	}
	mark := string([]byte{0xEF, 0xBB, 0xBF})
	for _, tc := range []struct{ name, text string }{
		{"LF", good},
		{"CR LF", strings.ReplaceAll(good, "\n", "\r\n")},
		{"CR", strings.ReplaceAll(good, "\n", "\r")},
		{"no line end at the end", strings.TrimSpace(good)},
		{"indented, blank lines between", strings.ReplaceAll(good, "\n", " \n\n\t ")},
		{"byte order mark", mark + good},
		{"text around", "Dear colleague, here is:\n\n" + good + "\n-- \nRegards: IT"},
		{"attributes around", "Bag Attributes\n    localKeyID: 01 \nsubject=CN = x\n" + good + "Key Attributes: <No Attributes>\n"},
		{"all in one line", strings.ReplaceAll(strings.TrimSpace(good), "\n", " ")},
		{"all in one line without spaces", "-----BEGIN CERTIFICATE-----" + packed + "-----END CERTIFICATE-----"},
		{"lines of 76", "-----BEGIN CERTIFICATE-----\n" + wrap(76) + "\n-----END CERTIFICATE-----\n"},
		{"lines of 1", "-----BEGIN CERTIFICATE-----\n" + wrap(1) + "\n-----END CERTIFICATE-----\n"},
		{"PEM without padding", "-----BEGIN CERTIFICATE-----\n" + strings.TrimRight(packed, "=") + "\n-----END CERTIFICATE-----\n"},
		{"headers", strings.Replace(good, "-----\n", "-----\nComment: old\n\n", 1)},
		{"X509 CERTIFICATE", strings.ReplaceAll(good, "CERTIFICATE", "X509 CERTIFICATE")},
		{"UTF-16 little endian", string(utf16Text(good, binary.LittleEndian))},
		{"UTF-16 big endian", string(utf16Text(good, binary.BigEndian))},
		{"UTF-16 little endian with mark and text", string(utf16Text("\uFEFFÜber das Zertifikat 證書\r\n"+good, binary.LittleEndian))},
		{"UTF-16 big endian with mark and text", string(utf16Text("\uFEFFÜber das Zertifikat 證書\r\n"+good, binary.BigEndian))},
		{"bare base64", bare},
		{"bare base64 in one line", packed},
		{"bare base64 without padding", strings.TrimRight(packed, "=")},
		{"bare base64 in lines of 7", wrap(7)},
		{"bare base64 with CR LF and indented", " \t" + strings.ReplaceAll(bare, "\n", "\r\n \t")},
		{"bare base64 with byte order mark", mark + bare},
		{"bare base64 in UTF-16", string(utf16Text(bare, binary.LittleEndian))},
		{"bare base64 in UTF-16 with mark", string(utf16Text("\uFEFF"+bare, binary.BigEndian))},
		{"DER", string(want)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.Parse([]byte(tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([][]byte{want}, contents.CertificatesDER()); diff != "" {
				t.Errorf("certificates (-want +got):\n%s", diff)
			}
			if got := contents.Objects[0].Line > 0; got != contents.PEM || contents.PEM != strings.Contains(strings.ReplaceAll(tc.text, "\x00", ""), "BEGIN") {
				t.Errorf("PEM %v, line %d", contents.PEM, contents.Objects[0].Line)
			}
		})
	}
}

// TestParseLines checks that every kind of line end is counted, and what is said about which line.
func TestParseLines(t *testing.T) {
	t.Parallel()
	good := strings.ReplaceAll(read(t, "tomcat-good-crlf.pem"), "\r\n", "\n")
	lines := strings.Count(good, "\n")
	for name, end := range map[string]string{"LF": "\n", "CR": "\r", "CR LF": "\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text := "text\n" + good + good + "-----BEGIN CERTIFICATE-----\nMIIB\nMI?B\n-----END CERTIFICATE-----\n"
			contents, err := certfile.Parse([]byte(strings.ReplaceAll(text, "\n", end)))
			problem, ok := errors.AsType[*certfile.Error](err)
			if !ok || len(contents.Objects) != 2 {
				t.Fatalf("%d objects, %v", len(contents.Objects), err)
			}
			got := []int{contents.Objects[0].Line, contents.Objects[1].Line, problem.Line}
			if diff := cmp.Diff([]int{2, 2 + lines, 2 + 2*lines}, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if !strings.Contains(problem.Error(), "not base64 text") {
				t.Errorf("got %v", problem)
			}
		})
	}
}

func TestParseDamagedText(t *testing.T) {
	t.Parallel()
	good := strings.ReplaceAll(read(t, "tomcat-good-crlf.pem"), "\r\n", "\n")
	request := block("CERTIFICATE", der(t, "pub-tomcat.csr"))
	for _, tc := range []struct {
		name, text string
		certs      int
		want       string // in the error
	}{
		{"blocks joined without a line end", strings.TrimSpace(good) + good, 2, ""},
		{"BEGIN without dashes behind", strings.Replace(good, "CERTIFICATE-----\n", "CERTIFICATE---\n", 1) + good, 1, "line 1: the PEM block's BEGIN and END lines"},
		{"END of something else", strings.Replace(good, "END CERTIFICATE", "END PKCS7", 1) + good, 1, "line 1: the PEM block's BEGIN and END lines"},
		{"too much padding", "-----BEGIN CERTIFICATE-----\nMIIB====\n-----END CERTIFICATE-----\n" + good, 1, "too much padding"},
		{"one character too few", "-----BEGIN CERTIFICATE-----\nMIIBA\n-----END CERTIFICATE-----\n" + good, 1, "base64 text is damaged"},
		{"nothing inside", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n" + good, 1, "line 1: the certificate does not parse"},
		{"request labelled certificate", request + good, 1, "line 1: the block is labelled CERTIFICATE but holds a certificate request"},
		{"quoted in mail", "> " + strings.ReplaceAll(good, "\n", "\n> "), 0, "no complete PEM block"},
		{"certificate with octets behind", block("CERTIFICATE", append(der(t, "tomcat-3072.pem"), 0)) + good, 1, "trailing data"},
		{"CRL with octets behind", block("X509 CRL", append(der(t, "root-a.crl.pem"), 0)) + good, 1, "the revocation list does not parse: x509: trailing data"},
		{"words", "hello world", 0, "is neither PEM nor DER nor base64"},
		{"base64 of words", base64.StdEncoding.EncodeToString([]byte("hello world")), 0, "is neither PEM nor DER nor base64"},
		{"white space only", " \r\n\t\n", 0, "is empty"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			contents, err := certfile.Parse([]byte(tc.text))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if got := len(contents.Certificates()); got != tc.certs {
				t.Errorf("%d certificates, want %d", got, tc.certs)
			}
		})
	}
}

// TestParseStream reads several DER structures in a row.
func TestParseStream(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	list := a.revocationList(t, 3)
	key, err := x509.MarshalPKCS8PrivateKey(a.key)
	if err != nil {
		t.Fatal(err)
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	const c, crl, k = certfile.Certificate, certfile.RevocationList, certfile.PrivateKey
	for _, tc := range []struct {
		name string
		data []byte
		want []certfile.Kind
		text string // in the error
	}{
		{"certificates, list, request and key", join(a.Raw, list, a.Raw, der(t, "pub-tomcat.csr"), key), []certfile.Kind{c, crl, c, certfile.Request, k}, ""},
		{"bundle and certificate", join(der(t, "ca-chain.p7b"), a.Raw), []certfile.Kind{c, c, c, c}, ""},
		{"one that does not parse", join(a.odd(t), a.Raw), []certfile.Kind{c, c}, "the certificate does not parse: x509: negative serial number"},
		{"octets behind", join(a.Raw, a.Raw, []byte("tail")), []certfile.Kind{c, c}, "4 bytes follow the last object"},
		{"structure of something else behind", join(a.Raw, []byte{0x30, 3, 2, 1, 1}), []certfile.Kind{c}, "5 bytes follow the last object"},
		{"last one cut off", join(a.Raw, a.Raw[:100]), []certfile.Kind{c}, "100 bytes follow the last object"},
		{"one cut off", a.Raw[:len(a.Raw)-1], nil, "is DER, but cut off or damaged"},
		{"something else", []byte{0x30, 3, 2, 1, 1}, nil, "is DER, but no certificate"},
		{"bundle cut off", der(t, "ca-chain.p7b")[:500], nil, "the PKCS #7 bundle cannot be read"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			// In base64 it is the same.
			for _, data := range [][]byte{tc.data, []byte(base64.StdEncoding.EncodeToString(tc.data))} {
				contents, err := certfile.Parse(data)
				if (err == nil) != (tc.text == "") || err != nil && !strings.Contains(err.Error(), tc.text) {
					t.Errorf("got %v, want %q", err, tc.text)
				}
				if diff := cmp.Diff(tc.want, kinds(contents)); diff != "" {
					t.Errorf("objects (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// TestParseKeepsNoInput makes sure that who reuses a buffer does not change what was read.
func TestParseKeepsNoInput(t *testing.T) {
	t.Parallel()
	a := newAuthority(t, "CA")
	for _, data := range [][]byte{bytes.Clone(a.Raw), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Raw})} {
		contents, err := certfile.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		clear(data)
		if !contents.Certificates()[0].Equal(a.Certificate) || !bytes.Equal(contents.Objects[0].Raw, a.Raw) {
			t.Error("the certificate changed with the input")
		}
	}
}
