package certsrv

import (
	"fmt"
	"strconv"
)

// HResult is a Windows status code as the pages print it, e.g. 0x80094800. Zero means none.
type HResult uint32

// Status codes that change what a client does.
const (
	StatusPropertyEmpty   HResult = 0x80094004 // there is no request of that id
	StatusNoRequest       HResult = 0x80094002 // likewise
	StatusUnsupportedType HResult = 0x80094800 // the CA does not publish the template
	StatusTemplateDenied  HResult = 0x80094012 // the account may not enrol the template
	StatusRPCUnavailable  HResult = 0x800706BA // the web server does not reach the CA
	StatusRPCCallFailed   HResult = 0x800706BE // the web server lost the CA in the middle of a call
	StatusAccessDenied    HResult = 0x80070005 // the web server may not use the CA
)

// String returns the code as on the pages: "0x80094800".
func (h HResult) String() string { return fmt.Sprintf("0x%08x", uint32(h)) }

// The parts of a status code: 0x8007 stands before the number of a Win32 error, and errors of the ASN.1 library are counted
// from 0x80093000.
const (
	facilityWin32 = 0x80070000
	facilityASN   = 0x80093000
	asnFirst      = 0x80093001
	asnLast       = 0x800931ff
)

// Full returns the code as Windows prints it behind the words of a message: "0x80094800 (-2146875392
// CERTSRV_E_UNSUPPORTED_CERT_TYPE)", "0x800706ba (WIN32: 1722 RPC_S_SERVER_UNAVAILABLE)", "0x8009310b (ASN: 267
// CRYPT_E_ASN1_BADTAG)". A code without a known name has the number alone.
func (h HResult) Full() string {
	var number string
	switch {
	case h&0xffff0000 == facilityWin32:
		number = fmt.Sprintf("WIN32: %d", uint32(h-facilityWin32))
	case asnFirst <= h && h <= asnLast:
		number = fmt.Sprintf("ASN: %d", uint32(h-facilityASN))
	default:
		number = strconv.FormatInt(int64(int32(h)), 10)
	}
	if s, known := LookupHResult(h); known {
		number += " " + s.Name
	}
	return fmt.Sprintf("%s (%s)", h, number)
}

// Status explains one HResult.
type Status struct {
	HResult   HResult
	Name      string // symbolic name as Windows prints it, e.g. CERTSRV_E_TEMPLATE_DENIED
	Meaning   string // half a sentence
	Remedy    string // what an administrator does
	Retryable bool   // true: the same request can succeed later without anyone acting
}

// LookupHResult explains h; false when the code is not one of those that web enrolment is known to give. Unknown codes
// still come back, with a number as name and with what their facility tells.
func LookupHResult(h HResult) (Status, bool) {
	for _, s := range statusTable() {
		if s.HResult == h {
			return s, true
		}
	}
	s := Status{HResult: h, Name: h.String(), Remedy: "look the code up with `certutil -error " + h.String() + "`, and read the CA's event log"}
	switch {
	case h&0xffff0000 == facilityWin32:
		s.Meaning = fmt.Sprintf("Windows error %d on the web server or the CA", uint32(h-facilityWin32))
		s.Remedy = fmt.Sprintf("look the error up with `net helpmsg %d`, and read the event logs of web server and CA", uint32(h-facilityWin32))
	case asnFirst <= h && h <= asnLast:
		s.Meaning, s.Remedy = "the CA cannot decode the request (ASN.1)", remedyEncoding
	case h&0xffffff00 == 0x80094800:
		s.Meaning = "the certificate template does not allow the request"
		s.Remedy = "compare the request with the template (certutil -v -template NAME); " + s.Remedy
	case h&0xffffff00 == 0x80094000:
		s.Meaning = "the CA refuses or cannot process the request"
	case 0x80090300 <= h && h <= 0x800903ff:
		s.Meaning = "a login between web server, CA and domain failed"
		s.Remedy = "check the domain controllers, the clocks and the delegation of the web server; " + s.Remedy
	case h&0xffff0000 == 0x80090000:
		s.Meaning = "Windows' cryptography reports an error: a key, a signature or a message"
	case h&0xffff0000 == 0x800b0000:
		s.Meaning = "a certificate is not trusted: that of the CA, of one above it, or of who signed the request"
		s.Remedy = "verify the chain on the CA: certutil -verify -urlfetch FILE.cer; " + s.Remedy
	default:
		s.Meaning = "the CA gives a status that is not known here"
	}
	return s, false
}

// Statuses returns every status code that LookupHResult explains.
func Statuses() []Status { return statusTable() }
