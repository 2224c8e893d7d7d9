package fleet

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"callsign/internal/explain"
)

// The words of commands, import files and the vendor's pages for the same things (spec: CAPF section 12). Ours are what
// we write; the vendor's words and numbers are taken on input, without regard to case, blanks and punctuation.

var operationLabels = map[Operation]string{
	OperationNone:         "No Pending Operation",
	OperationInstall:      "Install/Upgrade",
	OperationDelete:       "Delete",
	OperationTroubleshoot: "Troubleshoot",
}

var statusLabels = map[Status]string{
	StatusNone:                "None",
	StatusPending:             "Operation Pending",
	StatusUpgradeSuccess:      "Upgrade Success",
	StatusUpgradeFailed:       "Upgrade Failed",
	StatusDeleteSuccess:       "Delete Success",
	StatusDeleteFailed:        "Delete Failed",
	StatusTroubleshootSuccess: "Troubleshoot Success",
	StatusTroubleshootFailed:  "Troubleshoot Failed",
}

var authLabels = map[AuthMode]string{
	AuthNull:   "By Null String",
	AuthString: "By Authentication String",
	AuthLSC:    "By Existing Certificate (Precedence to LSC)",
	AuthMIC:    "By Existing Certificate (Precedence to MIC)",
}

var keyOrderLabels = map[KeyOrder]string{
	KeyOrderRSA:   "RSA Only",
	KeyOrderEC:    "EC Only",
	KeyOrderECRSA: "EC Preferred, RSA Backup",
}

// VendorLabel returns what the vendor's administrators call the operation, e.g. "Install/Upgrade".
func (o Operation) VendorLabel() string { return operationLabels[o] }

// VendorLabel returns what the vendor's administrators call the status, e.g. "Operation Pending".
func (s Status) VendorLabel() string { return statusLabels[s] }

// VendorLabel returns what the vendor's administrators call the authentication mode, e.g. "By Null String".
func (m AuthMode) VendorLabel() string { return authLabels[m] }

// VendorLabel returns what the vendor's administrators call the key order, e.g. "EC Preferred, RSA Backup".
func (k KeyOrder) VendorLabel() string { return keyOrderLabels[k] }

// The tables by which words are found, folded. A number of the vendor's database is a word like any other.
var (
	operationWords = foldTable(operationLabels, map[string]Operation{
		"1": OperationNone, "2": OperationInstall, "3": OperationDelete, "4": OperationTroubleshoot,
		"install": OperationInstall, "upgrade": OperationInstall,
		"OPERATION_NONE:1": OperationNone, "OPERATION_UPGRADE:2": OperationInstall, "OPERATION_DELETE:3": OperationDelete,
		"OPERATION_TROUBLESHOOT:4": OperationTroubleshoot,
	})
	statusWords = foldTable(statusLabels, map[string]Status{
		"1": StatusNone, "2": StatusPending, "3": StatusUpgradeSuccess, "4": StatusUpgradeFailed, "5": StatusDeleteSuccess,
		"6": StatusDeleteFailed, "7": StatusTroubleshootSuccess, "8": StatusTroubleshootFailed,
		"CERT_STATUS_NONE:1": StatusNone, "CERT_STATUS_OPERATION_PENDING:2": StatusPending,
		"CERT_STATUS_UPGRADE_SUCCESS:3": StatusUpgradeSuccess, "CERT_STATUS_UPGRADE_FAILED:4": StatusUpgradeFailed,
		"CERT_STATUS_DELETE_SUCCESS:5": StatusDeleteSuccess, "CERT_STATUS_DELETE_FAILED:6": StatusDeleteFailed,
		"CERT_STATUS_TROUBLESHOOT_SUCCESS:7": StatusTroubleshootSuccess, "CERT_STATUS_TROUBLESHOOT_FAILED:8": StatusTroubleshootFailed,
	})
	authWords = foldTable(authLabels, map[string]AuthMode{
		"1": AuthString, "2": AuthNull, "3": AuthLSC, "4": AuthMIC,
		"AUTH_BY_STR:1": AuthString, "AUTH_BY_NULL_STR:2": AuthNull, "AUTH_BY_LSC:3": AuthLSC, "AUTH_BY_MIC:4": AuthMIC,
		"By Existing Certificate, LSC": AuthLSC, "By Existing Certificate, MIC": AuthMIC,
	})
	keyOrderWords = foldTable(keyOrderLabels, map[string]KeyOrder{
		"1": KeyOrderRSA, "2": KeyOrderEC, "3": KeyOrderECRSA,
		"KEYORDER_RSA_ONLY:1": KeyOrderRSA, "KEYORDER_EC_ONLY:2": KeyOrderEC, "KEYORDER_EC_PREFERRED:3": KeyOrderECRSA,
		"EC Preferred": KeyOrderECRSA,
	})
	rsaWords = bitsTable("KEY_SIZE_", map[int]int{512: 1, 1024: 2, 2048: 3, 3072: 4, 4096: 5})
	ecWords  = bitsTable("EC_KEY_SIZE_", map[int]int{256: 256, 384: 384, 521: 521})
)

// foldTable makes a table of our words, the labels and more words. NAME:NUMBER stands for NAME as well.
func foldTable[T ~string](labels map[T]string, more map[string]T) map[string]T {
	table := make(map[string]T, len(labels)*2+len(more)*2)
	for v, label := range labels {
		table[fold(string(v))], table[fold(label)] = v, v
	}
	for word, v := range more {
		table[fold(word)] = v
		if name, _, ok := strings.Cut(word, ":"); ok {
			table[fold(name)] = v
		}
	}
	return table
}

// bitsTable makes a table of key sizes, which the vendor numbers.
func bitsTable(prefix string, numbers map[int]int) map[string]int {
	table := map[string]int{}
	for bits, number := range numbers {
		size := strconv.Itoa(bits)
		for _, word := range []string{size, size + " bits", prefix + size, prefix + size + ":" + strconv.Itoa(number), strconv.Itoa(number)} {
			table[fold(word)] = bits
		}
	}
	return table
}

// fold takes case, blanks and punctuation from a word. A number must be nothing else: "-1" is not "1".
func fold(s string) string {
	s = strings.TrimSpace(s)
	folded := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
	if strings.Trim(folded, "0123456789") == "" && folded != s {
		return ""
	}
	return folded
}

func look[T any](table map[string]T, s, code, what, possible string) (T, error) {
	v, ok := table[fold(s)]
	if !ok {
		return v, problem(code, shown(s)+" "+what, "use "+possible+likeWord(s, possible))
	}
	return v, nil
}

// likeWord asks whether one of the words that are possible was meant.
func likeWord(s, possible string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	least, like := 3, ""
	for word := range strings.FieldsFuncSeq(possible, func(r rune) bool { return r == ' ' || r == ',' }) {
		if d := explain.Distance(s, word, 2); d < least && d < len(s)-1 && word != "or" && strings.Trim(s, "0123456789") != "" {
			least, like = d, word
		}
	}
	if like == "" {
		return ""
	}
	return "; did you mean " + like + "?"
}

// shown quotes what a person or a file wrote, bounded.
func shown(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return strconv.Quote(string(r[:most])) + "..."
	}
	return strconv.Quote(s)
}

// ParseOperation reads an operation in our words, the vendor's ("Install/Upgrade", "OPERATION_UPGRADE") or as a number
// of column tkcertificateoperation. The error is a *Problem, fleet.operation.
func ParseOperation(s string) (Operation, error) {
	return look(operationWords, s, "fleet.operation", "is no operation", "install, delete, troubleshoot or none")
}

// ParseStatus reads the status of an operation in our words, the vendor's ("Operation Pending") or as a number of column
// tkcertificatestatus. The error is a *Problem, fleet.status.
func ParseStatus(s string) (Status, error) {
	return look(statusWords, s, "fleet.status", "is no status of an operation",
		"none, pending, upgrade_success, upgrade_failed, delete_success, delete_failed, troubleshoot_success or troubleshoot_failed")
}

// ParseAuthMode reads an authentication mode in our words, the vendor's ("By Null String", "AUTH_BY_STR") or as a number
// of column tkauthenticationmode. The error is a *Problem, fleet.auth-mode.
func ParseAuthMode(s string) (AuthMode, error) {
	return look(authWords, s, "fleet.auth-mode", "is no authentication mode", "null, string, lsc or mic")
}

// ParseKeyOrder reads a key order in our words, the vendor's ("EC Preferred, RSA Backup", "KEYORDER_RSA_ONLY") or as its
// number. The error is a *Problem, fleet.key-order.
func ParseKeyOrder(s string) (KeyOrder, error) {
	return look(keyOrderWords, s, "fleet.key-order", "is no key order", "rsa, ec or ec_rsa")
}

// ParseRSABits reads the size of an RSA key in bits, in the vendor's words ("KEY_SIZE_2048:3") or as a number of column
// tkkeysize. The error is a *Problem, fleet.key-size.
func ParseRSABits(s string) (int, error) {
	return look(rsaWords, s, "fleet.key-size", "is no size of an RSA key that can be asked for", "512, 1024, 2048, 3072 or 4096")
}

// ParseECBits reads the size of an EC key in bits. The error is a *Problem, fleet.key-size.
func ParseECBits(s string) (int, error) {
	return look(ecWords, s, "fleet.key-size", "is no size of an EC key that can be asked for", "256, 384 or 521")
}

// The vendor writes a time as YYYY:MM:DD:HH:MM; its pages ask for date and hour only.
var vendorTimes = []string{"2006:01:02:15:04", "2006:01:02:15"}

// ParseCompletesBy reads Operation Completes By: RFC 3339, or YYYY:MM:DD:HH:MM in the zone given. "none" is the zero
// time, no limit. The error is a *Problem, fleet.completes-by.
func ParseCompletesBy(s string, zone *time.Location) (time.Time, error) {
	trimmed := strings.TrimSpace(s)
	if strings.EqualFold(trimmed, "none") {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, strings.ToUpper(trimmed))
	for _, form := range vendorTimes {
		if err != nil {
			t, err = time.ParseInLocation(form, trimmed, zone)
		}
	}
	if err != nil || t.Year() < 1970 {
		return time.Time{}, problem("fleet.completes-by", shown(s)+" is no time by which an operation can complete",
			"use a time such as 2027-01-20T12:00:00+01:00 or 2027:01:20:12:00, or none for no limit")
	}
	return t.UTC(), nil
}

// Operations returns the operations there are, in the order of the vendor's numbers.
func Operations() []Operation {
	return []Operation{OperationNone, OperationInstall, OperationDelete, OperationTroubleshoot}
}

// AuthModes returns the authentication modes there are, null first.
func AuthModes() []AuthMode { return []AuthMode{AuthNull, AuthString, AuthLSC, AuthMIC} }

// KeyOrders returns the key orders there are.
func KeyOrders() []KeyOrder { return []KeyOrder{KeyOrderRSA, KeyOrderEC, KeyOrderECRSA} }

// Statuses returns the statuses there are, in the order of the vendor's numbers.
func Statuses() []Status {
	return []Status{
		StatusNone, StatusPending, StatusUpgradeSuccess, StatusUpgradeFailed, StatusDeleteSuccess, StatusDeleteFailed,
		StatusTroubleshootSuccess, StatusTroubleshootFailed,
	}
}

// RSASizes returns the sizes in bits of the RSA keys that can be asked for.
func RSASizes() []int { return []int{512, 1024, 2048, 3072, 4096} }

// ECSizes returns the sizes in bits of the EC keys that can be asked for.
func ECSizes() []int { return []int{256, 384, 521} }
