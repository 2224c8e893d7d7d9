package certsrvtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const iisFields = "date time s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip cs(User-Agent) cs(Referer) sc-status sc-substatus sc-win32-status time-taken"

// What IIS logs as sc-win32-status.
const (
	win32FileNotFound  = 2
	win32AccessDenied  = 5
	win32NetnameGone   = 64
	win32LogonFailure  = 1326
	win32Disabled      = 1331
	win32MustChange    = 1907
	win32LockedOut     = 1909
	secInvalidToken    = 0x80090308
	secLogonDenied     = 0x8009030C
	secNoCredentials   = 0x8009030E
	secMessageAltered  = 0x8009030F
	secContextExpired  = 0x80090317
	secTimeSkew        = 0x80090324
	secBadBindings     = 0x80090346
	iisTimestampLayout = "2006-01-02 15:04:05"
)

// iisLog writes W3C extended log lines as IIS does: to a writer, to a file per UTC day, or to both.
type iisLog struct {
	w   io.Writer
	dir string

	mu     sync.Mutex
	begun  bool // the header went to w
	file   *os.File
	day    string
	closed bool
}

// write logs one line; the header goes before the first one, and before the first one of each file.
func (l *iisLog) write(now time.Time, line string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.w != nil {
		if !l.begun {
			line := iisHeader(now) + line
			if _, err := io.WriteString(l.w, line); err != nil {
				return err
			}
			l.begun = true
		} else if _, err := io.WriteString(l.w, line); err != nil {
			return err
		}
	}
	if l.dir == "" || l.closed {
		return nil
	}
	if day := now.UTC().Format("060102"); day != l.day {
		if err := l.open(now, day); err != nil {
			return err
		}
	}
	_, err := io.WriteString(l.file, line)
	return err
}

// open changes to the file of a day. A file that is there already gets the header again, as after a restart of IIS.
func (l *iisLog) open(now time.Time, day string) error {
	if l.file != nil {
		_ = l.file.Close()
		l.file, l.day = nil, ""
	}
	f, err := os.OpenFile(filepath.Join(l.dir, "u_ex"+day+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600) //nolint:gosec // the directory is the operator's choice
	if err != nil {
		return err
	}
	if _, err := io.WriteString(f, iisHeader(now)); err != nil {
		_ = f.Close()
		return err
	}
	l.file, l.day = f, day
	return nil
}

func (l *iisLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file, l.day = nil, ""
	return err
}

func iisHeader(now time.Time) string {
	return "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n#Date: " +
		now.UTC().Format(iisTimestampLayout) + "\r\n#Fields: " + iisFields + "\r\n"
}

// iisLine renders the log line of a request that was answered at now.
func iisLine(r *http.Request, user string, status, substatus int, win32 uint32, began, now time.Time) string {
	serverIP, port := "", ""
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		serverIP, port, _ = net.SplitHostPort(local.String())
	}
	clientIP, _, _ := net.SplitHostPort(r.RemoteAddr)
	fields := []string{
		now.UTC().Format("2006-01-02"), now.UTC().Format("15:04:05"), iisField(serverIP), iisField(r.Method),
		iisField(r.URL.EscapedPath()), iisField(r.URL.RawQuery), iisField(port), iisField(user), iisField(clientIP),
		iisField(r.UserAgent()), iisField(r.Referer()), strconv.Itoa(status), strconv.Itoa(substatus),
		strconv.FormatUint(uint64(win32), 10), fmt.Sprint(max(0, now.Sub(began).Milliseconds())),
	}
	return strings.Join(fields, " ") + "\r\n"
}

// iisField makes a value fit for a space-separated line: "-" for nothing, "+" for white space and control characters,
// so that no client can write a line of its own.
func iisField(v string) string {
	if v == "" {
		return "-"
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7F {
			return '+'
		}
		return r
	}, v)
}
