package fleet

import (
	"fmt"
	"strconv"
)

// The numbers and names under which the vendor's database and traces show our values (spec: CAPF section 12). Those
// that are not public follow the pattern of the public ones.

var operationNumbers = map[Operation]struct {
	number int
	name   string
}{
	OperationNone:         {1, "OPERATION_NONE"},
	OperationInstall:      {2, "OPERATION_UPGRADE"},
	OperationDelete:       {3, "OPERATION_DELETE"},
	OperationTroubleshoot: {4, "OPERATION_TROUBLESHOOT"},
}

var statusNumbers = map[Status]struct {
	number int
	name   string
}{
	StatusNone:                {1, "CERT_STATUS_NONE"},
	StatusPending:             {2, "CERT_STATUS_OPERATION_PENDING"},
	StatusUpgradeSuccess:      {3, "CERT_STATUS_UPGRADE_SUCCESS"},
	StatusUpgradeFailed:       {4, "CERT_STATUS_UPGRADE_FAILED"},
	StatusDeleteSuccess:       {5, "CERT_STATUS_DELETE_SUCCESS"},
	StatusDeleteFailed:        {6, "CERT_STATUS_DELETE_FAILED"},
	StatusTroubleshootSuccess: {7, "CERT_STATUS_TROUBLESHOOT_SUCCESS"},
	StatusTroubleshootFailed:  {8, "CERT_STATUS_TROUBLESHOOT_FAILED"},
}

var rsaSizeNames = map[int]string{
	512: "KEY_SIZE_512:1", 1024: "KEY_SIZE_1024:2", 2048: "KEY_SIZE_2048:3", 3072: "KEY_SIZE_3072:4", 4096: "KEY_SIZE_4096:5",
}

// VendorName returns the vendor's name of the operation, e.g. OPERATION_UPGRADE.
func (o Operation) VendorName() string { return operationNumbers[o].name }

// VendorNumber returns the operation's value in column tkcertificateoperation.
func (o Operation) VendorNumber() int { return operationNumbers[o].number }

// VendorName returns the vendor's name of the status, e.g. CERT_STATUS_UPGRADE_SUCCESS.
func (s Status) VendorName() string { return statusNumbers[s].name }

// VendorNumber returns the status's value in column tkcertificatestatus.
func (s Status) VendorNumber() int { return statusNumbers[s].number }

// vendorAuth returns an authentication mode as the trace prints it, e.g. AUTH_BY_NULL_STR:2.
func vendorAuth(m AuthMode) string {
	switch m {
	case AuthString:
		return "AUTH_BY_STR:1"
	case AuthLSC:
		return "AUTH_BY_LSC:3"
	case AuthMIC:
		return "AUTH_BY_MIC:4"
	default:
		return "AUTH_BY_NULL_STR:2"
	}
}

func vendorRSASize(bits int) string { return rsaSizeNames[bits] }

// vendorECSize is INVALID:0 while no EC key is asked for, as on an RSA Only phone.
func vendorECSize(o KeyOrder, bits int) string {
	if o == KeyOrderRSA {
		return "INVALID:0"
	}
	return "EC_KEY_SIZE_" + strconv.Itoa(bits) + ":" + strconv.Itoa(bits)
}

func vendorKeyOrder(o KeyOrder) string {
	switch o {
	case KeyOrderEC:
		return "KEYORDER_EC_ONLY:2"
	case KeyOrderECRSA:
		return "KEYORDER_EC_PREFERRED:3"
	default:
		return "KEYORDER_RSA_ONLY:1"
	}
}

// vendorTime is "Operation Completes By" as stored by the vendor: YYYY:MM:DD:HH:MM, in the server's zone, as [ParseCompletesBy] takes it.
func (d *Device) vendorTime() string {
	if d.CompletesBy.IsZero() {
		return ""
	}
	t := d.CompletesBy.Local()
	return fmt.Sprintf("%04d:%02d:%02d:%02d:%02d", t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute())
}
