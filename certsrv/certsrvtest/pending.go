package certsrvtest

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The pages certckpn.asp and certrmpn.asp know pending requests from a cookie of the browser, never from the CA. The cookie
// has the name of the original; what is in it is ours: request ids joined by ".".
const (
	pendingCookie = "Requests"
	mostPending   = 64 // ids in a cookie
)

// remembered are the request ids in the browser's cookie, each once.
func remembered(r *http.Request) []int {
	cookie, err := r.Cookie(pendingCookie)
	if err != nil {
		return nil
	}
	var ids []int
	for text := range strings.SplitSeq(cookie.Value, ".") {
		if id, err := strconv.Atoi(text); err == nil && id > 0 && len(ids) < mostPending && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// remember is the cookie of a browser that is told of one more pending request.
func remember(r *http.Request, id int) string {
	return cookieOf(append(slices.DeleteFunc(remembered(r), func(old int) bool { return old == id }), id))
}

func cookieOf(ids []int) string {
	if len(ids) > mostPending {
		ids = ids[len(ids)-mostPending:]
	}
	words := make([]string, len(ids))
	for i, id := range ids {
		words[i] = strconv.Itoa(id)
	}
	return pendingCookie + "=" + strings.Join(words, ".") + "; path=/certsrv"
}

// pendingListPage is certckpn.asp: a form for each request that the browser remembers.
func (s *Server) pendingListPage(ids []int) []byte {
	w := s.lang().words()
	p := s.newPage(s.lang(), w.pendingList)
	if len(ids) == 0 {
		p.line(`<P ID=locNoPending>`, w.noRequests, `</P>`)
		return p.end()
	}
	for _, id := range ids {
		p.line(`<Form Action="certfnsh.asp" Method=Post>`)
		for _, hidden := range [][2]string{{"Mode", "chkpnd"}, {"ReqID", strconv.Itoa(id)}, {"TargetStoreFlags", "0"}, {"SaveCert", "yes"}} {
			p.linef(`<Input Type=Hidden Name=%s Value="%s">`, hidden[0], hidden[1])
		}
		p.linef(`<Input Type=Submit Value="%d"> <A Href="certrmpn.asp?Action=Remove&amp;ReqID=%d">X</A>`, id, id)
		p.line(`</Form>`)
	}
	return p.end()
}

// forget is certrmpn.asp: it takes a request out of the browser's cookie. The CA keeps it.
func (s *Server) forget(r *http.Request, query url.Values) reply {
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxForm))
		if err != nil {
			return iisReply(http.StatusBadRequest, win32NetnameGone)
		}
		query = parseForm(string(body))
	}
	w := s.lang().words()
	p := s.newPage(s.lang(), w.pendingList)
	p.line(fmt.Sprintf(`<P ID=locRemoved>%s</P>`, w.removed))
	rep := htmlReply(p.end())
	if id, err := strconv.Atoi(query.Get("reqid")); err == nil {
		rep.cookie = cookieOf(slices.DeleteFunc(remembered(r), func(old int) bool { return old == id }))
	}
	return rep
}
