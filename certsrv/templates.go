package certsrv

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/net/html"
)

const (
	templatesPath = "/certsrv/certrqxt.asp"
	maxTemplates  = 1000
)

// Template is a certificate template that the logged-in account may enrol at this CA.
type Template struct {
	Name        string // the name to send
	DisplayName string // what a person reads in the list
	OID         string // empty when the page does not tell
}

// TemplateList is what certrqxt.asp offers.
type TemplateList struct {
	Templates []Template
	// Standalone tells that the page has no list at all: the CA is not an enterprise CA and takes every request, for a
	// manager to decide.
	Standalone bool
}

// Find returns the template of a name or OID, without regard to case; false when it is not offered.
func (l TemplateList) Find(name string) (Template, bool) {
	for _, t := range l.Templates {
		if strings.EqualFold(t.Name, name) || (t.OID != "" && t.OID == name) {
			return t, true
		}
	}
	return Template{}, false
}

// Names returns the names in the page's order.
func (l TemplateList) Names() []string {
	var out []string
	for _, t := range l.Templates {
		out = append(out, t.Name)
	}
	return out
}

// Templates returns the templates that the Client's account may enrol: those that the CA publishes and on which the
// account has Read and Enroll. Templates of machine type are never listed.
func (c *Client) Templates(ctx context.Context) (TemplateList, error) {
	if err := c.init(); err != nil {
		return TemplateList{}, err
	}
	return c.templates(ctx, c.get)
}

// CheckTemplate asks certrqxt.asp whether a template is offered to the Client's account. The error is a *Problem of
// CodeTemplateNotOffered that names what is offered and the nearest name. A standalone CA takes any name.
func (c *Client) CheckTemplate(ctx context.Context, name string) error {
	list, err := c.Templates(ctx)
	if err != nil {
		return err
	}
	if err := c.judgeTemplate(ctx, list, name, c.Auth.User); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offered[strings.ToLower(name)] = c.now()
	return nil
}

// checkTemplateMemo is CheckTemplate that remembers a good answer. A bad one is never remembered: the next enrolment
// must see an administrator's correction at once.
func (c *Client) checkTemplateMemo(ctx context.Context, name string) error {
	if c.SkipTemplateCheck || name == "" {
		return nil
	}
	if err := c.init(); err != nil {
		return err
	}
	c.mu.Lock()
	seen, ok := c.offered[strings.ToLower(name)]
	c.mu.Unlock()
	if age := c.now().Sub(seen); ok && age >= 0 && age < templateMemo {
		return nil
	}
	return c.CheckTemplate(ctx, name)
}

func (c *Client) templates(ctx context.Context, get getter) (TemplateList, error) {
	resp, err := get(ctx, "templates", templatesPath)
	if err != nil {
		return TemplateList{}, err
	}
	url := c.base.String() + templatesPath
	list, ok := parseTemplates(resp.Body)
	if !ok {
		return TemplateList{}, unexpectedPage("templates", url, resp.Body)
	}
	c.log().LogAttrs(ctx, slog.LevelInfo, "template page read", slog.String("event", "certsrv.page"),
		slog.String("url", url), slog.Int("bytes", len(resp.Body)), slog.Int("templates", len(list.Templates)))
	return list, nil
}

// parseTemplates reads the list lbCertTemplate; false when the body is not the page of saved requests.
func parseTemplates(body []byte) (list TemplateList, ok bool) {
	if !isPage(body) {
		return list, false
	}
	list.Standalone = true
	inList := false
	var current *Template
	z := html.NewTokenizer(bytes.NewReader([]byte(decodeText(body))))
	for {
		switch z.Next() {
		case html.ErrorToken:
			for i := range list.Templates {
				list.Templates[i].DisplayName = oneLine(list.Templates[i].DisplayName)
			}
			return list, ok
		case html.StartTagToken, html.SelfClosingTagToken:
			name, attrs := tagAttributes(z)
			current = nil
			switch {
			case name == "form" && strings.Contains(strings.ToLower(attrs["action"]), "certfnsh.asp"):
				ok = true // the page, whether or not it has a list
			case name == "select":
				inList = strings.EqualFold(attrs["name"], "lbCertTemplate") || strings.EqualFold(attrs["id"], "lbCertTemplateID")
				if inList {
					ok, list.Standalone = true, false
				}
			case name == "option" && inList && len(list.Templates) < maxTemplates:
				if t, good := optionTemplate(attrs["value"]); good {
					list.Templates = append(list.Templates, t)
					current = &list.Templates[len(list.Templates)-1]
				}
			}
		case html.TextToken:
			if current != nil && len(current.DisplayName) < 1000 {
				current.DisplayName += string(z.Text())
			}
		case html.EndTagToken:
			current = nil
			if name, _ := z.TagName(); string(name) == "select" {
				inList = false
			}
		case html.CommentToken, html.DoctypeToken:
		}
	}
}

func tagAttributes(z *html.Tokenizer) (string, map[string]string) {
	b, more := z.TagName()
	name := string(b)
	var attrs map[string]string
	for more {
		var k, v []byte
		k, v, more = z.TagAttr()
		if attrs == nil {
			attrs = make(map[string]string)
		}
		if _, dup := attrs[string(k)]; !dup {
			attrs[string(k)] = string(v)
		}
	}
	return name, attrs
}

// optionTemplate reads the value of an option: fields between semicolons, of which the second is the name to send and
// the tenth the OID.
func optionTemplate(value string) (Template, bool) {
	f := strings.Split(value, ";")
	if len(f) < 2 || strings.TrimSpace(f[1]) == "" {
		return Template{}, false
	}
	t := Template{Name: oneLine(f[1])}
	if len(f) > 9 {
		t.OID = oneLine(f[9])
	}
	return t, true
}

// judgeTemplate returns nil when the template can be requested. The original says nothing anywhere when it cannot, which
// is why this is logged here and not left to the caller alone.
func (c *Client) judgeTemplate(ctx context.Context, list TemplateList, name, user string) error {
	if list.Standalone || name == "" {
		return nil
	}
	if _, ok := list.Find(name); ok {
		return nil
	}
	p := c.notOffered(list, name, user)
	c.log().LogAttrs(ctx, slog.LevelWarn, "template not offered", slog.String("event", "certsrv.template_not_offered"),
		slog.String("url", p.URL), slog.String("template", name), slog.String("user", user), slog.Any("offered", p.Offered),
		slog.String("nearest", p.Nearest), slog.String("code", p.ErrCode), slog.String("err", p.Detail), slog.String("remedy", p.Fix))
	return p
}

func (c *Client) notOffered(list TemplateList, name, user string) *Problem {
	p := &Problem{
		ErrCode: CodeTemplateNotOffered, Op: "templates", URL: c.base.String() + templatesPath,
		Offered: list.Names(), Nearest: nearest(name, list),
	}
	offered := strings.Join(p.Offered, ", ")
	if offered == "" {
		offered = "none"
	}
	p.Detail = fmt.Sprintf("template %q is not offered to user %s; offered: %s", name, user, offered)
	if p.Nearest != "" {
		p.Fix = fmt.Sprintf("did you mean %q? ", p.Nearest)
	}
	for _, t := range list.Templates {
		if strings.EqualFold(t.DisplayName, name) {
			p.Nearest = t.Name
			p.Fix = fmt.Sprintf("%q is the display name: set the template name %q. ", name, t.Name)
		}
	}
	p.Fix += fmt.Sprintf("One of three: the name is misspelt or is the display name; the CA does not publish it (CA console, Certificate Templates, New, Certificate Template to Issue); "+
		"account %s has not Read and Enroll on it (template, tab Security). A template of machine type is never listed: skip the template check for it", user)
	return p
}

// nearest returns the offered name with the least edit distance, when it is near enough to be meant.
func nearest(name string, list TemplateList) string {
	best, bestDistance := "", len(name)/2+1
	for _, t := range list.Templates {
		for _, n := range []string{t.Name, t.DisplayName} {
			if d := distance(strings.ToLower(name), strings.ToLower(n)); d < bestDistance {
				best, bestDistance = t.Name, d
			}
		}
	}
	return best
}

// distance is the Levenshtein distance of the first 100 characters.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	x, y = x[:min(len(x), 100)], y[:min(len(y), 100)]
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			cost := 1
			if r == s {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(y)]
}
