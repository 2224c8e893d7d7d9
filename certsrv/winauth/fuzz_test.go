package winauth

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
)

// seedKeytab is a keytab with two keys, as the library writes it.
func seedKeytab(t testing.TB) []byte {
	t.Helper()
	k := keytab.New()
	for _, e := range []int32{etypeID.AES256_CTS_HMAC_SHA1_96, etypeID.AES128_CTS_HMAC_SHA1_96} {
		if err := k.AddEntry("ra", "LAB.EXAMPLE", "not-a-secret", time.Unix(1700000000, 0), 3, e); err != nil {
			t.Fatal(err)
		}
	}
	b, err := k.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzKeytab: whatever is in the file, reading it ends, shows no key, and what is said of it can be asked for.
func FuzzKeytab(f *testing.F) {
	b := seedKeytab(f)
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{5, 1, 0, 0, 0, 4, 0, 1, 0, 0})
	f.Add([]byte{5, 2, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{5, 2, 0x80, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKeytab(b)
		if err != nil {
			if len(b) > 40 && strings.Contains(err.Error(), string(b[4:])) {
				t.Error("the error quotes the file")
			}
			return
		}
		if k.IsZero() || len(k.Principals()) == 0 {
			t.Errorf("a keytab without keys: %x", b)
		}
		p := principal{types.NewPrincipalName(1, "ra"), "LAB.EXAMPLE"}
		if _, _, ok := k.key(p, etypeID.AES256_CTS_HMAC_SHA1_96, 0); ok && len(k.versions(p)) == 0 {
			t.Error("a key without a version")
		}
	})
}

// FuzzKrb5Conf: no text makes the reader panic, and what it takes allows encryption types that are known alone.
func FuzzKrb5Conf(f *testing.F) {
	f.Add([]byte("[libdefaults]\n default_realm = LAB.EXAMPLE\n permitted_enctypes = aes256-cts rc4-hmac\n[realms]\n LAB.EXAMPLE = {\n  kdc = dc1:88\n }\n[domain_realm]\n .lab.example = LAB.EXAMPLE\n"))
	f.Add([]byte("[realms]\nA = {\n kdc = \n"))
	f.Add([]byte("include /etc/passwd\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conf, err := krb5Conf(b)
		if err != nil {
			return
		}
		for _, id := range conf.LibDefaults.DefaultTktEnctypeIDs {
			if strings.HasPrefix(encryptionName(id), "type ") {
				t.Errorf("encryption type %d", id)
			}
		}
	})
}

func asHex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzServerToken: no token of a web server makes the reader panic or takes the place of a proof.
func FuzzServerToken(f *testing.F) {
	for _, seed := range []string{
		"a1143012a0030a0100a10b06092a864886f712010202", // NegTokenResp: completed, Kerberos
		"a10c300aa0030a0101a103060100",
		"6f1530130a0100",
		"7e5e305ca003020105a10302011ea411180f32303236313132353132303030305aa505020300d431a603020125a90d1b0b4c41422e4558414d504c45aa1d301ba003020103a11430121b04485454501b0a6c61622d64632e6578",
	} {
		f.Add(asHex(f, seed))
	}
	key := types.EncryptionKey{KeyType: etypeID.AES256_CTS_HMAC_SHA1_96, KeyValue: make([]byte, 32)}
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := parseAnswer(b)
		if err != nil {
			return
		}
		a.refusal()
		l := kerberosLogin{ticket: &ticket{key: key}}
		if a.message == tokenAPRep && l.prove(a) == nil {
			t.Errorf("%x proves something", b)
		}
	})
}

// FuzzKDCReply: no answer of a KDC makes a logon panic or succeed.
func FuzzKDCReply(f *testing.F) {
	f.Add([]byte{0x7e, 0})
	f.Add([]byte{0x6b, 0x03, 0x30, 0x01, 0x00})
	f.Add(asHex(f, "7e5e305ca003020105a10302011ea411180f32303236313132353132303030305aa505020300d431a603020125a90d1b0b4c41422e4558414d504c45aa1d301ba003020103a11430121b04485454501b0a6c61622d64632e6578"))
	k, err := NewKerberos(KerberosConfig{User: "ra@LAB.EXAMPLE", Password: NewPassword([]byte("not-a-secret"))})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = k.Close() })
	f.Fuzz(func(t *testing.T, b []byte) {
		if refused, ok := asRefusal(b); ok {
			if e := k.refusal(refused, "kdc", ""); e.Code() == "" || e.Remedy() == "" {
				t.Errorf("%+v", e)
			}
			var padata types.PADataSequence
			if padata.Unmarshal(refused.EData) == nil {
				_, _, _ = k.accountKey("kdc", padata, []int32{etypeID.AES128_CTS_HMAC_SHA1_96}, 0)
			}
			return
		}
		var rep messages.ASRep
		if rep.Unmarshal(b) != nil {
			return
		}
		key := types.EncryptionKey{KeyType: etypeID.AES256_CTS_HMAC_SHA1_96, KeyValue: make([]byte, 32)}
		if _, err := decryptReply(rep.EncPart, key, 3); err == nil {
			t.Errorf("%x was decrypted", b)
		}
	})
}
