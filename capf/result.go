package capf

import "fmt"

// Result is the result code of a certificate operation as CAPF traces print it.
type Result int

// The result codes. 9 and 10 are not known.
const (
	ResultSuccess            Result = 0
	ResultFetchNoCertificate Result = 1
	ResultFail               Result = 2
	ResultInvalidAuthString  Result = 3
	ResultInvalidLSC         Result = 4
	ResultInvalidMIC         Result = 5
	ResultInvalidCredentials Result = 6
	ResultPhoneCommError     Result = 7
	ResultTimedOut           Result = 8
	ResultLateRequest        Result = 11
)

// resultText holds for a result code its name with the spelling of the traces, its code of ours, its meaning and what
// to do about it.
type resultText struct{ name, code, meaning, remedy string }

func (r Result) text() (resultText, bool) {
	switch r {
	case ResultSuccess:
		return resultText{"CAPF_OP_SUCCESS", "capf.success", "the operation succeeded", "nothing to do"}, true
	case ResultFetchNoCertificate:
		return resultText{
			"CAPF_FETCH_SUCCESS_BUT_NO_CERT", CodeNoCertificate, "the phone has no certificate",
			"install a certificate on the phone: set its operation to install",
		}, true
	case ResultFail:
		return resultText{
			"CAPF_OP_FAIL", CodeFailed, "the operation failed",
			"read the log of this session for the authority's reason, mend that and let the phone call again",
		}, true
	case ResultInvalidAuthString:
		return resultText{
			"CAPF_OP_FAIL_INVALID_AUTH_STR", CodeInvalidAuthString, "the authentication string is wrong or locked",
			"enter the correct string on the phone; after too many wrong ones set a new string for the phone first",
		}, true
	case ResultInvalidLSC:
		return resultText{
			"CAPF_OP_FAIL_INVALID_LSC", CodeInvalidLSC, "the phone's LSC was not accepted",
			"choose another authentication mode for this phone, or import the CA of its LSC into CAPF-trust",
		}, true
	case ResultInvalidMIC:
		return resultText{
			"CAPF_OP_FAIL_INVALID_MIC", CodeInvalidMIC, "the phone's manufacturer certificate was not accepted",
			"choose another authentication mode for this phone, or import the manufacturing CA into CAPF-trust",
		}, true
	case ResultInvalidCredentials:
		return resultText{
			"CAPF_OP_FAIL_INVALID_CRENDENTIALS", CodeInvalidCredentials, "the phone's credentials were not accepted",
			"enter the correct credentials on the phone",
		}, true
	case ResultPhoneCommError:
		return resultText{
			"CAPF_OP_FAIL_PHONE_COMM_ERROR", CodePhoneComm, "communication with the phone failed",
			"reset the phone so that it calls again; if that fails too look at the network between phone and server",
		}, true
	case ResultTimedOut:
		return resultText{
			"CAPF_OP_FAIL_OP_TIMED_OUT", CodeTimedOut, "the operation took too long",
			"schedule the operation again",
		}, true
	case ResultLateRequest:
		return resultText{
			"CAPF_OP_FAIL_LATE_REQUEST", CodeLateRequest, "the phone called after the operation's time limit",
			"schedule the operation again with a later time limit",
		}, true
	}
	return resultText{}, false
}

// Number returns the code as a number.
func (r Result) Number() int { return int(r) }

// Name returns the code's name exactly as traces spell it, e.g. "CAPF_OP_FAIL_INVALID_AUTH_STR", or "CAPF_RESULT_9"
// for a number without one.
func (r Result) Name() string {
	if t, ok := r.text(); ok {
		return t.name
	}
	return fmt.Sprintf("CAPF_RESULT_%d", int(r))
}

// String implements fmt.Stringer with the name.
func (r Result) String() string { return r.Name() }

// Meaning says in a few words what the code means; empty for a number without a name.
func (r Result) Meaning() string { t, _ := r.text(); return t.meaning }

// Remedy says what an administrator can do; empty for a number without a name.
func (r Result) Remedy() string { t, _ := r.text(); return t.remedy }
