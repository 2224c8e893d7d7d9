package trace

import (
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The directory that the original names in its trace: the appliance's temporary one.
const tmp = "/tmp"

// The descriptor that the original prints when its session loop goes on; any would do.
const (
	fdReady  = "6"
	fdFailed = "10"
)

// mapFunction is cut at this length together with its arguments in the original's buffer.
const (
	mapFunction = "CAPFDevice::MapCapf_OpStatusToDBLTypeCertificateStatus"
	mapLength   = 77
)

// localMode is the mode of an enrolment that CAPF signs itself. The original's lines about EST and the waiting session
// do not occur then.
const localMode = "CAPF"

func capfRenderer(name string) func(*core, *page, event) {
	switch name {
	case "capf.issuer":
		return issuer
	case "capf.online_ca":
		return onlineCA
	case "capf.ra_started":
		return raStarted
	case "capf.est_setup":
		return estSetup
	case "capf.est_ready":
		return estReady
	case "capf.enroll":
		return enroll
	case "capf.enrolled":
		return enrolled
	case "capf.enroll_failed":
		return enrollFailed
	case "capf.certificate_ready":
		return certificateReady
	case "capf.store_sent":
		return storeSent
	case "capf.fetched":
		return fetched
	case "capf.result":
		return result
	case "capf.end_session":
		return endSession
	default:
		return nil
	}
}

// capfLines writes lines of a CAPF trace, each with the event's time.
type capfLines struct {
	p      *page
	time   string
	prefix string // of debug texts that belong to a phone
}

func lines(p *page, e event) capfLines {
	return capfLines{p: p, time: e.at.Format("15:04:05.000"), prefix: "2:" + e.text("device") + ":"}
}

// enter, inside and leave write the three kinds of line.
func (l capfLines) enter(name string) { fmt.Fprintf(&l.p.capf, "%s |-->%s\n", l.time, name) }
func (l capfLines) leave(name string) { fmt.Fprintf(&l.p.capf, "%s |<--%s\n", l.time, name) }
func (l capfLines) inside(name, text string) {
	fmt.Fprintf(&l.p.capf, "%s |   %s %s\n", l.time, name, text)
}

// debug writes texts, each between its own -->debug and <--debug.
func (l capfLines) debug(texts ...string) {
	for _, text := range texts {
		l.enter("debug")
		l.inside("debug", text)
		l.leave("debug")
	}
}

// phone writes debug texts that belong to the event's phone.
func (l capfLines) phone(texts ...string) {
	for _, text := range texts {
		l.debug(l.prefix + text)
	}
}

// withNumber completes an issuer's name with the number that the original prints behind it: only OnlineCA's is public,
// the other follows the list of the service parameter.
func withNumber(method string) string {
	switch method {
	case "OnlineCA", "online-ca":
		return "OnlineCA:4"
	case "CAPF", "local":
		return "CAPF:1"
	default:
		return method
	}
}

func issuer(_ *core, p *page, e event) {
	const function = "CServiceParameters::Init()"
	l := lines(p, e)
	l.inside(function, "Certificate Generation Method="+withNumber(e.text("method")))
	l.inside(function, "TAM password already exists, no need to create.")
}

func onlineCA(_ *core, p *page, e event) {
	const function = "CServiceParameters::OnlineCAInit()"
	l := lines(p, e)
	l.enter(function)
	l.inside(function, "Online CA hostname is "+e.text("host"))
	l.inside(function, "Online CA Port : "+e.textOr("port", "443"))
	l.inside(function, "Online CA Template is "+e.text("template"))
	l.inside(function, "nginx.conf Updated and Credential.txt file is created")
	l.inside(function, "Reading CAPF Service Parameters done")
	l.leave(function)
	l.inside("CServiceParameters::Init()", "OnlineCA Initialized")
}

func raStarted(_ *core, p *page, e event) {
	lines(p, e).inside("CServiceParameters::Init()",
		"Cisco RA Service Start Initiated. Please check NGINX logs for further details")
}

func estSetup(_ *core, p *page, e event) {
	lines(p, e).debug(
		"CA Type is Online CA, setting up EST Connection",
		"Inside setUpESTClient",
		"cacert read success. cacert length : "+e.number("cacert_length"),
		"EST context ectx initialized",
	)
}

func estReady(_ *core, p *page, e event) {
	lines(p, e).debug(
		"CA Credentials retrieved",
		"est_client_set_auth() Successful!!",
		"EST set server details success!!",
	)
}

func enroll(_ *core, p *page, e event) {
	if e.text("mode") == localMode {
		return
	}
	lines(p, e).phone(
		"CA Mode is OnlineCA, Initiating Automatic Certificate Enrollment",
		"Calling enrollCertUsingEST() csr_file="+tmp+"/capf/csr/"+e.text("device")+".csr",
		"Inside  X509_REQ *read_csr()",
		"Completed action in X509_REQ *read_csr()",
	)
}

func enrolled(_ *core, p *page, e event) {
	if e.text("mode") == localMode {
		return
	}
	lines(p, e).phone(
		"Enrollment rv = "+e.number("rv")+" ("+e.textOr("rv_name", "EST_ERR_NONE")+") with pkcs7 length = "+e.number("pkcs7_length"),
		"Signed Cert written to "+tmp+"/capf/cert/ location...",
		"Inside write_binary_file()",
		"Completed action in write_binary_file()",
		"Converting PKCS7 file to PEM format and PEM to DER",
		"Return value from enrollCertUsingEST() : "+e.number("rv"),
		"Online Cert Signing successful",
	)
}

func enrollFailed(_ *core, p *page, e event) {
	if e.text("mode") == localMode {
		return
	}
	l := lines(p, e)
	l.phone(
		"Enrollment rv = "+e.number("rv")+" ("+e.text("rv_name")+") with pkcs7 length = 0",
		"est_client_enroll_csr() Failed! Could not obtain new certificate. Aborting.",
		"Return value from enrollCertUsingEST() : "+e.number("rv"),
		"Online Cert Signing Failed",
	)
	l.debug("addded " + fdFailed + " to readset")
}

func certificateReady(_ *core, p *page, e event) {
	if e.text("mode") == localMode {
		return
	}
	l, device := lines(p, e), e.text("device")
	l.enter("findAndPost")
	l.inside("findAndPost", "Device found in the cache map "+device)
	l.leave("findAndPost")
	l.debug("addded "+fdReady+" to readset", "Recd event")
	l.phone(
		"CA CERT RES certificate ready .",
		"CAPF CORE: Rcvd Event: CAPF_EV_CA_CERT_REP in State: CAPF_STATE_AWAIT_CA_CERT_RESP",
		"CAPF got device certificate",
	)
	l.debug(
		"loadFile('"+tmp+"/capf/cert/"+device+".der')",
		"loadFile() successfully loaded file: '"+tmp+"/capf/cert/"+device+".der'",
	)
	l.phone("Read certificate for device")
	l.debug("LSC is verified. removing CSR at " + tmp + "/capf/csr/" + device + ".csr")
}

func storeSent(_ *core, p *page, e event) { lines(p, e).phone("Sending STORE_CERT_REQ msg") }

// fetched is a line of ours: the original writes the certificates of a troubleshoot operation elsewhere.
func fetched(_ *core, p *page, e event) {
	kind := "LSC"
	if e.text("type") == "mic" {
		kind = "MIC"
	}
	text := fmt.Sprintf("Troubleshoot certificate %s %s %s %s", kind, e.text("subject"), e.text("issuer"), e.text("serial"))
	if sum := e.text("sha256"); sum != "" {
		text += " sha256=" + sum
	}
	lines(p, e).phone(text)
	if der := e.bytes("certificate"); len(der) > 0 {
		p.certificate = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		p.certificateName = fileName(e.text("device")) + "-" + strings.ToLower(kind) + "-" + e.at.Format("20060102-150405.000") + ".pem"
	}
}

// fileName keeps of a device's name what a file's may have.
func fileName(device string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, device)
}

// writeCertificate makes the file of a certificate that a phone has shown.
func (p *page) writeCertificate(dir string) error {
	path := filepath.Join(dir, p.certificateName)
	if err := os.WriteFile(path, p.certificate, 0o640); err != nil { //nolint:gosec // certificates are public; the group reads logs
		return fileError(path, err)
	}
	return nil
}

func result(_ *core, p *page, e event) {
	l, device := lines(p, e), e.text("device")
	name := e.text("result_name")
	outcome := "Fail:" + name
	if code := e.number("result"); code == "0" || code == "1" { // CAPF_OP_SUCCESS, CAPF_FETCH_SUCCESS_BUT_NO_CERT
		outcome = "Success:" + name
	}
	set := "SetOperationStatus(" + outcome + "):" + e.number("result")
	mapped := mapFunction + "(" + e.text("operation") + ", " + outcome
	if len(mapped) > mapLength {
		mapped = mapped[:mapLength]
	}
	selected := "Select(" + device + ")"

	l.enter(selected)
	l.leave(selected)
	l.enter(set)
	l.inside(set, "Operation status Value is '"+e.number("result")+"'")
	l.enter(mapped)
	l.inside(mapped, "=>DbStatus="+e.text("status_name"))
	l.leave(mapped)
	l.inside(set, "Operation status is set to 1")
	l.inside(set, "Operation status is set to "+outcome)
	l.inside(set, fmt.Sprintf("sql query - (UPDATE Device SET tkCertificateOperation=1, tkcertificatestatus='%s' WHERE my_lower(name)=my_lower('%s'))",
		e.number("status"), device))
	l.leave(set)
	if key := e.bytes("public_key"); len(key) > 0 {
		l.phone("In capf_ui_set_ph_public_key()", "pubKey: "+keyText(key), fmt.Sprintf("pubKey length: %d", len(key)))
	}
	l.enter(selected)
	l.inside(selected, "device exists")
	for _, field := range []struct{ label, value string }{
		{"BEFORE DB query Authentication Mode=", e.text("auth_before")},
		{"KeySize=", e.text("key_size")},
		{"ECKeySize=", e.text("ec_key_size")},
		{"KeyOrder=", e.text("key_order")},
		{"Operation=", "OPERATION_NONE:1"},
		{"Operation Status =", e.text("status_name") + ":" + e.number("status")},
		{"Authentication Mode=", e.text("auth")},
		{"Operation Should Finish By=", e.text("completes_by")},
	} {
		l.inside(selected, field.label+field.value)
	}
	l.leave(selected)
}

// keyText is a DER key as the original prints it: as a C string, and no further than the first control character, which
// could be a line end. A key of 256 to 65535 bytes shows as its first two bytes, 30 82.
func keyText(der []byte) string {
	for i, b := range der {
		if b < ' ' {
			return string(der[:i])
		}
	}
	return string(der)
}

func endSession(_ *core, p *page, e event) { lines(p, e).debug("MsgType : CAPF_MSG_END_SESSION") }
