package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// DefaultTimeout bounds a handshake from the first question to a name server to the last octet.
const DefaultTimeout = 10 * time.Second

// Target is a TLS server, and how to greet it.
type Target struct {
	// Address is "host:port": a DNS name, which may have U-labels and a final dot, or an IP address, IPv6 in brackets.
	Address string
	// ConnectTo, if not empty, is the "host:port" that is connected to in place of Address: one node of several that
	// have a name, or a server before its name points to it.
	ConnectTo string
	// ServerName is the name that is sent (SNI); empty means the host of Address. It is sent in A-labels and without a
	// final dot, and never when it is an IP address (RFC 6066 section 3).
	ServerName string
	// Timeout bounds everything; 0 means DefaultTimeout.
	Timeout time.Duration
}

// greeting is a Target whose parts were checked.
type greeting struct {
	connect string // host:port to connect to
	sni     string // "" for none
	timeout time.Duration
}

func (t *Target) greeting() (*greeting, error) {
	host, port, err := SplitAddress(t.Address)
	if err != nil {
		return nil, err
	}
	g := &greeting{connect: net.JoinHostPort(host, port), sni: sni(host), timeout: t.Timeout}
	if t.ConnectTo != "" {
		if host, port, err = SplitAddress(t.ConnectTo); err != nil {
			return nil, err
		}
		g.connect = net.JoinHostPort(host, port)
	}
	if t.ServerName != "" {
		name, err := asciiHost(strings.Trim(t.ServerName, "[]"))
		if err != nil {
			return nil, badAddress(t.ServerName, "the name to send is no host name: "+err.Error())
		}
		g.sni = sni(name)
	}
	if g.timeout <= 0 {
		g.timeout = DefaultTimeout
	}
	return g, nil
}

// SplitAddress takes "host:port" apart, as Target.Address is written, and puts U-labels into A-labels. The error is a *Error
// with CodeBadAddress.
func SplitAddress(address string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(address)
	if err != nil {
		why := "is no HOST:PORT"
		if addrErr, ok := errors.AsType[*net.AddrError](err); ok && addrErr.Err == "missing port in address" {
			why = "has no port"
		}
		return "", "", badAddress(address, why)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return "", "", badAddress(address, fmt.Sprintf("the port %q is no number from 1 to 65535", port))
	}
	if host, err = asciiHost(host); err != nil {
		return "", "", badAddress(address, err.Error())
	}
	return host, port, nil
}

// asciiHost returns a host as it is resolved: an IP address as it is, a name in A-labels.
func asciiHost(host string) (string, error) {
	if _, err := netip.ParseAddr(host); err == nil {
		return host, nil
	}
	if strings.Trim(host, ".") == "" {
		return "", errors.New("the host is missing")
	}
	for _, r := range host {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '_', r == '.':
		case r >= utf8.RuneSelf && r != utf8.RuneError:
		default:
			return "", fmt.Errorf("the host has the character %q", r)
		}
	}
	if strings.IndexFunc(host, func(r rune) bool { return r >= utf8.RuneSelf }) < 0 {
		return host, nil
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return "", fmt.Errorf("the host is no name in international characters: %w", err)
	}
	if ascii == "" { // of characters that stand for nothing; an empty host would be this machine
		return "", errors.New("the host is missing")
	}
	return ascii, nil
}

// sni returns what is sent as server name for a host: nothing for an address, which RFC 6066 section 3 forbids.
func sni(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return ""
	}
	return strings.TrimRight(host, ".")
}
