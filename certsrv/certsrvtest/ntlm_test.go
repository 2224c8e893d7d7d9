package certsrvtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rc4" //nolint:gosec // NTLM key exchange
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	ntlmssp "github.com/Azure/go-ntlmssp"
)

// TestNTOWFv2 uses the vectors of MS-NLMP 4.2.4.
func TestNTOWFv2(t *testing.T) {
	t.Parallel()
	key := ntowfv2("Password", "User", "Domain")
	if got := hex.EncodeToString(key); got != "0c868a403bfd7a93a3001ef22ef02e3f" {
		t.Errorf("NTOWFv2 %s", got)
	}
	blob := unhexString(t, "0101000000000000"+"0000000000000000"+"aaaaaaaaaaaaaaaa"+"00000000"+
		"02000c0044006f006d00610069006e00"+"01000c00530065007200760065007200"+"00000000"+"00000000")
	proof := hmacMD5(key, unhexString(t, "0123456789abcdef"), blob)
	if got := hex.EncodeToString(proof); got != "68cd0ab851e51c96aabc927bebef6a1c" {
		t.Errorf("NTProofStr %s", got)
	}
	if got := hex.EncodeToString(hmacMD5(key, proof)); got != "8de40ccadbc14a82f15cb0ad0de95ca3" {
		t.Errorf("SessionBaseKey %s", got)
	}
}

func unhexString(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// type1 returns Type 1 messages of the lengths that clients send.
func type1(length int, flags uint32) []byte {
	msg := binary.LittleEndian.AppendUint32(append([]byte(ntlmSignature), 1, 0, 0, 0), flags)
	return append(msg, make([]byte, length-len(msg))...)
}

const clientFlags = flagUnicode | flagOEM | flagRequestTarget | flagNTLM | flagAlwaysSign | flagExtendedSession | flag128 | flag56

// client3 says how a Type 3 message is made; the zero value is a plain NTLMv2 client without MIC.
type client3 struct {
	user, domain, password string
	mic, badMIC, keyEx     bool
	announceOnly           bool // MsvAvFlags says MIC but there is none
	ntlmv1, lmOnly         bool
	oem                    bool
	binding                []byte // channel binding; nil: none is sent
}

// message builds Type 3 for a Type 2.
func (c client3) message(t *testing.T, t1, t2 []byte) []byte {
	t.Helper()
	challenge := t2[24:32]
	infoLen, infoAt := int(binary.LittleEndian.Uint16(t2[40:])), int(binary.LittleEndian.Uint32(t2[44:]))
	info := bytes.Clone(t2[infoAt : infoAt+infoLen-4])
	if c.mic || c.announceOnly {
		info = append(info, 6, 0, 4, 0, 2, 0, 0, 0)
	}
	if c.binding != nil {
		info = append(append(info, avBindings, 0, byte(len(c.binding)), 0), c.binding...)
	}
	info = append(info, 0, 0, 0, 0)
	key := ntowfv2(c.password, c.user, c.domain)
	blob := append([]byte{1, 1, 0, 0, 0, 0, 0, 0}, binary.LittleEndian.AppendUint64(nil, fileTime(clock))...)
	blob = append(blob, "clientCh\x00\x00\x00\x00"...)
	blob = append(append(blob, info...), 0, 0, 0, 0)
	proof := hmacMD5(key, challenge, blob)
	nt := append(bytes.Clone(proof), blob...)
	lm := make([]byte, 24)
	switch {
	case c.ntlmv1:
		nt = bytes.Repeat([]byte{0x42}, 24)
	case c.lmOnly:
		nt, lm = nil, bytes.Repeat([]byte{0x42}, 24)
	}
	flags := binary.LittleEndian.Uint32(t2[20:])
	text := func(s string) []byte {
		if c.oem {
			return []byte(s)
		}
		return utf16le(s)
	}
	session := hmacMD5(key, proof)
	var wrapped []byte
	if c.keyEx {
		exported := []byte("exported key 16!")
		r, err := rc4.NewCipher(session) //nolint:gosec // NTLM key exchange
		if err != nil {
			t.Fatal(err)
		}
		wrapped = make([]byte, 16)
		r.XORKeyStream(wrapped, exported)
		session = exported
		flags |= flagKeyExchange
	}
	header := 64
	if c.mic {
		header = 88
	}
	msg := append([]byte(ntlmSignature), 3, 0, 0, 0)
	var payload []byte
	for _, f := range [][]byte{lm, nt, text(c.domain), text(c.user), text("WS"), wrapped} {
		msg = appendVarField(msg, len(f), header+len(payload))
		payload = append(payload, f...)
	}
	msg = binary.LittleEndian.AppendUint32(msg, flags)
	msg = append(msg, make([]byte, header-64)...)
	msg = append(msg, payload...)
	if c.mic {
		mic := hmacMD5(session, t1, t2, msg)
		copy(msg[72:], mic)
		if c.badMIC {
			msg[80] ^= 1
		}
	}
	return msg
}

// login goes both legs on w and returns the last answer.
func (w *wire) login(c client3, t1 []byte) *answer {
	w.t.Helper()
	t2 := w.challenge(t1)
	resp, _ := w.do(http.MethodGet, "/certsrv", "", authorization(c.message(w.t, t1, t2)))
	return resp
}

func (w *wire) challenge(t1 []byte) []byte {
	w.t.Helper()
	resp, _ := w.do(http.MethodGet, "/certsrv", "", authorization(t1))
	if resp.StatusCode != http.StatusUnauthorized {
		w.t.Fatalf("Type 1: status %d", resp.StatusCode)
	}
	token, ok := strings.CutPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM ")
	if !ok {
		w.t.Fatalf("Type 1: challenge %q", resp.Header.Values("WWW-Authenticate"))
	}
	t2, err := base64.StdEncoding.DecodeString(token)
	if err != nil {
		w.t.Fatal(err)
	}
	return t2
}

func authorization(msg []byte) string {
	return "Authorization: NTLM " + base64.StdEncoding.EncodeToString(msg)
}

func TestNTLM(t *testing.T) {
	t.Parallel()
	good := client3{user: "ra", domain: "LAB", password: testPassword}
	with := func(change func(*client3)) client3 { c := good; change(&c); return c }
	for _, tc := range []struct {
		name   string
		client client3
		t1     []byte
		win32  string // of the log line of the second leg; empty: logged in
	}{
		{"40 octets", good, type1(40, clientFlags), ""},
		{"32 octets, as curl", good, type1(32, clientFlags), ""},
		{"16 octets", good, type1(16, clientFlags), ""},
		{"name in upper case", with(func(c *client3) { c.user = "RA" }), type1(16, clientFlags), ""},
		{"domain by DNS name", with(func(c *client3) { c.domain = "lab.test" }), type1(16, clientFlags), ""},
		{"no domain", with(func(c *client3) { c.domain = "" }), type1(16, clientFlags), ""},
		{"user@domain", with(func(c *client3) { c.domain, c.user = "", "ra@lab.test" }), type1(16, clientFlags), ""},
		{"OEM names", with(func(c *client3) { c.oem = true }), type1(16, clientFlags&^flagUnicode), ""},
		{"MIC", with(func(c *client3) { c.mic = true }), type1(40, clientFlags), ""},
		{"MIC and key exchange", with(func(c *client3) { c.mic, c.keyEx = true, true }), type1(40, clientFlags|flagKeyExchange), ""},
		{"wrong MIC", with(func(c *client3) { c.mic, c.badMIC = true, true }), type1(40, clientFlags), "2148074252"},
		{"announced MIC missing", with(func(c *client3) { c.announceOnly = true }), type1(40, clientFlags), "2148074252"},
		{"wrong password", with(func(c *client3) { c.password = "wrong" }), type1(40, clientFlags), "2148074252"},
		{"empty password", with(func(c *client3) { c.password = "" }), type1(40, clientFlags), "2148074252"},
		{"unknown user", with(func(c *client3) { c.user = "nobody" }), type1(40, clientFlags), "2148074252"},
		{"unknown user, empty password", with(func(c *client3) { c.user, c.password = "nobody", "" }), type1(40, clientFlags), "2148074252"},
		{"other domain", with(func(c *client3) { c.domain = "ELSEWHERE" }), type1(40, clientFlags), "2148074252"},
		{"disabled account", client3{user: "gone", domain: "LAB", password: "g"}, type1(40, clientFlags), "2148074252"},
		{"NTLMv1", with(func(c *client3) { c.ntlmv1 = true }), type1(40, clientFlags), "2148074252"},
		{"LM only", with(func(c *client3) { c.lmOnly = true }), type1(40, clientFlags), "2148074252"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var log lockedBuffer
			c := config(t, 0)
			c.IISLog, c.Basic = &log, false
			c.Users = append(c.Users, User{Name: "gone", Password: "g", State: AccountDisabled})
			w := start(t, c).dial(t, textAgent)
			resp := w.login(tc.client, tc.t1)
			lines := log.lines()
			if !strings.HasSuffix(lines[0], "401 1 2148074254 0") {
				t.Errorf("first leg: %s", lines[0])
			}
			if tc.win32 != "" {
				if resp.StatusCode != http.StatusUnauthorized || !strings.HasSuffix(lines[1], " - 401 1 "+tc.win32+" 0") {
					t.Errorf("status %d, %s", resp.StatusCode, lines[1])
				}
				resp, _ = w.do(http.MethodGet, "/certsrv", "")
				if resp.StatusCode != http.StatusUnauthorized {
					t.Errorf("after a refused login: %d", resp.StatusCode)
				}
				return
			}
			if resp.StatusCode != http.StatusMovedPermanently || !strings.HasSuffix(lines[1], "301 0 0 0") || !strings.Contains(lines[1], ` LAB\ra `) {
				t.Fatalf("status %d, %s", resp.StatusCode, lines[1])
			}
			// The connection is logged in now; another one is not.
			if w.get("/certsrv/certrqxt.asp") == "" {
				t.Error("empty page")
			}
		})
	}
}

// TestNTLMLegs sends messages where they do not belong.
func TestNTLMLegs(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	c := config(t, 0)
	c.IISLog = &log
	s := start(t, c)
	good := client3{user: "ra", domain: "LAB", password: testPassword}
	t1 := type1(40, clientFlags)

	a, b := s.dial(t, textAgent), s.dial(t, textAgent)
	t2 := a.challenge(t1)
	t3 := authorization(good.message(t, t1, t2))
	wantRefusal := func(name string, w *wire, header, tail string) {
		t.Helper()
		resp, _ := w.do(http.MethodGet, "/certsrv", "", header)
		lines := log.lines()
		if last := lines[len(lines)-1]; resp.StatusCode != http.StatusUnauthorized || !strings.HasSuffix(last, tail) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, last)
		}
		if got := resp.Header.Get("WWW-Authenticate"); got != "NTLM" {
			t.Errorf("%s: WWW-Authenticate %q", name, got)
		}
	}
	wantRefusal("Type 3 on another connection", b, t3, "401 1 2148074248 0")
	if resp, _ := a.do(http.MethodGet, "/certsrv", "", t3); resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("Type 3 where it belongs: %d", resp.StatusCode)
	}
	wantRefusal("Type 3 twice", a, t3, "401 1 2148074248 0")
	wantRefusal("the failed second login ended the first", a, "X-Nothing: 1", "401 2 5 0")
	wantRefusal("garbage", b, "Authorization: NTLM !!!!", "401 1 2148074248 0")
	wantRefusal("Type 2 from a client", b, authorization(t2), "401 1 2148074248 0")
	wantRefusal("short Type 1", b, authorization(t1[:12]), "401 1 2148074248 0")
	wantRefusal("unknown scheme", b, "Authorization: Digest x", "401 2 5 0")
	b.challenge(t1)
	wantRefusal("Type 3 cut short", b, authorization(append([]byte(ntlmSignature), 3, 0, 0, 0)), "401 1 2148074248 0")
	t2 = b.challenge(t1)
	b.do(http.MethodGet, "/certsrv", "") // an anonymous request in between ends the handshake
	wantRefusal("Type 3 after an anonymous request", b, authorization(good.message(t, t1, t2)), "401 1 2148074248 0")
	// Logging in again on a connection is allowed, also as someone else.
	if resp := b.login(good, t1); resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("login: %d", resp.StatusCode)
	}
	if resp := b.login(client3{user: "second", domain: "LAB", password: "o"}, t1); resp.StatusCode != http.StatusMovedPermanently {
		t.Errorf("second login: %d", resp.StatusCode)
	}
	if lines := log.lines(); !strings.Contains(lines[len(lines)-1], `LAB\second`) {
		t.Errorf("second login: %s", lines[len(lines)-1])
	}
}

// TestNTLMClientLibrary logs in with the messages of another implementation, eight at a time.
func TestNTLMClientLibrary(t *testing.T) {
	t.Parallel()
	s := start(t, config(t, 0))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 5 {
				w := s.dial(t, textAgent)
				t1, err := ntlmssp.NewNegotiateMessage("", "")
				if err != nil {
					t.Error(err)
					return
				}
				resp, _, err := w.try(http.MethodGet, "/certsrv", "", authorization(t1))
				if err != nil {
					t.Error(err)
					return
				}
				t2, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(resp.Header.Get("WWW-Authenticate"), "NTLM "))
				t3, err := ntlmssp.NewAuthenticateMessage(t2, testUser, testPassword, nil)
				if err != nil {
					t.Error(err)
					return
				}
				resp, _, err = w.try(http.MethodGet, "/certsrv", "", authorization(t3))
				if err != nil || resp.StatusCode != http.StatusMovedPermanently {
					t.Errorf("login: %v, %v", resp, err)
				}
				_ = w.conn.Close()
			}
		})
	}
	group.Wait()
}

// TestCurl lets curl log in; it probes with its own 32-octet Type 1 and sends OEM names.
func TestCurl(t *testing.T) {
	t.Parallel()
	curl := program(t, "curl")
	var log lockedBuffer
	c := config(t, 0)
	c.IISLog = &log
	c.Users = append(c.Users, User{Name: `LAB\ascii`, Password: "plain"})
	s := start(t, c)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, tc := range []struct {
		name, scheme, account, want string
	}{
		{"NTLM", "--ntlm", `LAB\ascii:plain`, "301"},
		{"NTLM, wrong password", "--ntlm", `LAB\ascii:wrong`, "401"},
		{"NTLM, unknown user", "--ntlm", `LAB\nobody:plain`, "401"},
		{"Basic", "--basic", `LAB\ascii:plain`, "301"},
		{"Basic, wrong password", "--basic", `LAB\ascii:wrong`, "401"},
	} {
		out, err := exec.CommandContext(ctx, curl, "-sk", "--noproxy", "*", tc.scheme, "-u", tc.account, "-A", textAgent, "-o", "-", "-w", "\n%{http_code}", s.url+"/certsrv").Output()
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if lines := strings.Split(string(out), "\n"); lines[len(lines)-1] != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, out, tc.want)
		}
	}
	lines := log.lines()
	for i, want := range []string{"401 1 2148074254 0", "301 0 0 0", "401 1 2148074254 0", "401 1 2148074252 0", "401 1 2148074254 0", "401 1 2148074252 0", "301 0 0 0", "401 1 1326 0"} {
		if i >= len(lines) || !strings.HasSuffix(lines[i], want) {
			t.Fatalf("log line %d, want %s:\n%s", i, want, strings.Join(lines, "\n"))
		}
	}
}

func TestPasswordsAreNotCompared(t *testing.T) {
	t.Parallel()
	// A proof that was made for another challenge must fail although everything else is right.
	t1 := type1(40, clientFlags)
	names := ntlmNames{"LAB", "CERTSRV", "lab.test"}
	t2 := challengeMessage(clientFlags, [8]byte{1}, names, clock)
	msg := client3{user: "ra", domain: "LAB", password: "p"}.message(t, t1, t2)
	a, err := parseAuthenticate(msg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.verify("p", [8]byte{1}, t1, t2, msg); err != nil {
		t.Error(err)
	}
	if _, err := a.verify("p", [8]byte{2}, t1, t2, msg); err == nil {
		t.Error("replayed proof is accepted")
	}
	if !hmac.Equal(a.nt[:16], hmacMD5(ntowfv2("p", "ra", "LAB"), []byte{1, 0, 0, 0, 0, 0, 0, 0}, a.nt[16:])) {
		t.Error("proof differs")
	}
}
