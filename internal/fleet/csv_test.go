package fleet_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"callsign/capf"
	"callsign/internal/fleet"
	"callsign/internal/fleet/fleettest"
)

var importedAt = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// row is what an import file says of a phone.
type row struct {
	Model, Description string
	Auth               fleet.AuthMode
	String             string
	Operation          fleet.Operation
	Status             fleet.Status
	KeyOrder           fleet.KeyOrder
	RSABits, ECBits    int
	CompletesBy        string
}

func rowOf(d fleet.Device) row {
	r := row{d.Model, d.Description, d.Auth, string(d.AuthString), d.Operation, d.Status, d.KeyOrder, d.RSABits, d.ECBits, ""}
	if !d.CompletesBy.IsZero() {
		r.CompletesBy = d.CompletesBy.Format(time.RFC3339Nano)
	}
	return r
}

func rowsOf(t testing.TB, store fleet.Store) map[string]row {
	t.Helper()
	devices, _, err := store.Devices(t.Context(), fleet.Query{})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]row{}
	for _, d := range devices {
		rows[d.Name] = rowOf(d)
	}
	return rows
}

func read(t testing.TB, text string) *fleet.Sheet {
	t.Helper()
	s, err := fleet.ReadSheet(strings.NewReader(text), time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func importInto(t testing.TB, store fleet.Store, text string, o fleet.Import) fleet.Imported {
	t.Helper()
	o.Now = importedAt
	got, err := read(t, text).Import(t.Context(), store, o)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestImportForms: the same phone from files of many forms.
func TestImportForms(t *testing.T) {
	t.Parallel()
	full := row{"8865", "Lobby, 1st floor", "string", "12345", "install", "pending", "ec_rsa", 3072, 384, "2027-01-20T12:00:00Z"}
	for _, tt := range []struct {
		name, text string
		want       row
	}{
		{
			"all columns",
			"name,model,description,authentication,auth_string,operation,key_order,rsa_bits,ec_bits,completes_by\n" +
				`sep001122334455,8865,"Lobby, 1st floor",string,12345,install,ec_rsa,3072,384,2027-01-20T12:00:00Z` + "\n", full,
		},
		{
			"another order, byte order mark, CRLF, semicolons, blank lines, no end",
			"\xef\xbb\xbfOperation;Name;KEY_ORDER;completes_by;ec_bits;rsa_bits;auth_string;authentication;description;model;\r\n;;;\r\n\r\n" +
				"INSTALL ; SEP001122334455;EC_RSA;2027-01-20T12:00:00Z;384;3072;12345;String;Lobby, 1st floor;8865;", full,
		},
		{
			"tabs",
			"name\tmodel\tdescription\tauth_string\toperation\tkey_order\trsa_bits\tec_bits\tcompletes_by\n" +
				"SEP001122334455\t8865\tLobby, 1st floor\t12345\tinstall\tec_rsa\t3072\t384\t2027:01:20:12:00", full,
		},
		{
			"the vendor's words",
			`Device Name,Description,Device Type,Device Pool,Certificate Operation,Authentication Mode,Authentication String,Key Order,RSA Key Size (Bits),EC Key Size (Bits),Operation Completes By` + "\n" +
				`SEP001122334455,"Lobby, 1st floor",Cisco 8865,Default,Install/Upgrade,By Authentication String,12345,"EC Preferred, RSA Backup",3072,384,2027:01:20:12:00` + "\n", full,
		},
		{
			"the vendor's numbers",
			"sep=;\nDEVICE NAME;description;device type;certificate operation;authentication mode;authentication string;key order;rsa key size (bits);ec key size (bits);operation completes by\n" +
				"SEP001122334455;Lobby, 1st floor;Cisco 8865;2;1;12345;3;4;384;2027:01:20:12\n", full,
		},
		{"name only", "name\nSEP001122334455\n", row{Auth: "null", Operation: "none", Status: "none", KeyOrder: "rsa", RSABits: 2048, ECBits: 256}},
		{
			"defaults of an operation, short row",
			"name,operation,model,description\nSEP001122334455,install\n",
			row{Auth: "null", Operation: "install", Status: "pending", KeyOrder: "rsa", RSABits: 2048, ECBits: 256, CompletesBy: "2026-12-05T12:00:00Z"},
		},
		{
			"no limit", "name,operation,completes_by\nSEP001122334455,delete,none\n",
			row{Auth: "null", Operation: "delete", Status: "pending", KeyOrder: "rsa", RSABits: 2048, ECBits: 256},
		},
		{
			"quotes", `name,"description",model` + "\n" + ` "SEP001122334455" , "  the ""big"" room  " , 'x"y` + "\n",
			row{Model: `'x"y`, Description: `  the "big" room  `, Auth: "null", Operation: "none", Status: "none", KeyOrder: "rsa", RSABits: 2048, ECBits: 256},
		},
		{
			"formulas", "name,description,model\nSEP001122334455,'=1+1,''x\n",
			row{Model: "'x", Description: "=1+1", Auth: "null", Operation: "none", Status: "none", KeyOrder: "rsa", RSABits: 2048, ECBits: 256},
		},
		{
			"sizes that the vendor does not ask for", "Device Name,EC Key Size (Bits),RSA Key Size (Bits)\nSEP001122334455,INVALID:0,N/A\n",
			row{Auth: "null", Operation: "none", Status: "none", KeyOrder: "rsa", RSABits: 2048, ECBits: 256},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &fleettest.Memory{}
			got := importInto(t, m, tt.text, fleet.Import{Expires: 240 * time.Hour})
			if diff := cmp.Diff(fleet.Imported{Rows: 1, Added: 1, Written: true}, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(map[string]row{"SEP001122334455": tt.want}, rowsOf(t, m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestImportChanges: what a row says changes an existing phone, and nothing else.
func TestImportChanges(t *testing.T) {
	t.Parallel()
	old := func() fleet.Device {
		d := fleet.NewDevice("SEP001122334455")
		d.Model, d.Description, d.Auth, d.AuthString = "8865", "Lobby", fleet.AuthString, capf.Secret("12345")
		d.Schedule(fleet.OperationInstall, importedAt.Add(-time.Hour))
		d.WrongTries, d.Status, d.CompletesBy = 5, fleet.StatusUpgradeFailed, importedAt.Add(time.Hour)
		return d
	}
	for _, tt := range []struct {
		name, text string
		change     func(*fleet.Device) // what is to become of the old record; nil: nothing
	}{
		{"nothing", "name\nSEP001122334455", nil},
		{"empty cells", "name,model,description,authentication,auth_string,operation,key_order,rsa_bits,ec_bits,completes_by\nSEP001122334455,,,,,,,,,", nil},
		{"the same", "name,model,authentication,auth_string,operation,key_order\nSEP001122334455,8865,string,12345,install,rsa", nil},
		{"model", "name,model\nSEP001122334455,7962", func(d *fleet.Device) { d.Model = "7962" }},
		{"another string unlocks", "name,auth_string\nSEP001122334455,54321", func(d *fleet.Device) {
			d.AuthString, d.WrongTries, d.Status = capf.Secret("54321"), 0, fleet.StatusPending
		}},
		{"mode", "name,authentication\nSEP001122334455,lsc", func(d *fleet.Device) { d.Auth = fleet.AuthLSC }},
		{"another operation", "name,operation\nSEP001122334455,delete", func(d *fleet.Device) {
			d.Schedule(fleet.OperationDelete, importedAt)
			d.CompletesBy = importedAt.Add(240 * time.Hour)
		}},
		{"no operation any more", "name,operation\nSEP001122334455,none", func(d *fleet.Device) {
			d.Schedule(fleet.OperationNone, importedAt)
			d.CompletesBy = time.Time{}
		}},
		{"more time", "name,completes_by\nSEP001122334455,2027-01-20T12:00:00Z", func(d *fleet.Device) {
			d.CompletesBy = time.Date(2027, 1, 20, 12, 0, 0, 0, time.UTC)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := &fleettest.Memory{}
			if err := m.AddDevices(t.Context(), []fleet.Device{old()}); err != nil {
				t.Fatal(err)
			}
			got := importInto(t, m, tt.text, fleet.Import{Expires: 240 * time.Hour})
			want, result := old(), fleet.Imported{Rows: 1, Unchanged: 1, Written: true}
			if tt.change != nil {
				tt.change(&want)
				result.Unchanged, result.Changed = 0, 1
			}
			if diff := cmp.Diff(result, got); diff != "" {
				t.Error(diff)
			}
			d, err := m.Device(t.Context(), want.Name)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(rowOf(want), rowOf(d)); diff != "" || d.WrongTries != want.WrongTries || !d.Scheduled.Equal(want.Scheduled) {
				t.Errorf("wrong strings %d, scheduled %s\n%s", d.WrongTries, d.Scheduled, diff)
			}
		})
	}
}

// TestImportBadRows: every bad row is told, with line and column, and nothing is written unless the good ones are asked
// for.
func TestImportBadRows(t *testing.T) {
	t.Parallel()
	text := strings.Join([]string{
		"name,model,description,authentication,auth_string,operation,key_order,rsa_bits,ec_bits,completes_by",
		"SEP000000000001,8865,good,,,install,,,,",         // 2
		"SEP1,,,pin,12ab,instal,rsa_ec,2047,255,tomorrow", // 3
		",8865,nobody,,,,,,,",                                         // 4
		"sep000000000001,,again,,,,,,,",                               // 5
		"SEP000000000002,,\"open,,,,,,,",                              // 6
		"SEP000000000003,,\"a\"b,,,,,,,",                              // 7
		"SEP000000000004,,B\xfcro,,,,,,,",                             // 8
		"SEP000000000005,,,string,,install,,,,",                       // 9
		"SEP000000000006,,,,,,,,,,more",                               // 10
		"SEP000000000007,," + strings.Repeat("ü", 129) + ",,,,,,,",    // 11
		"SEP000000000008," + strings.Repeat("8", 65) + ",,,,,,,,",     // 12
		"SEP000000000009,," + strings.Repeat("x", 70_000) + ",,,,,,,", // 13
		"SEP00000000000A,,\x00,,,,,,,",                                // 14
		"SEP00000000000B,,good,,,,,,,",                                // 15
	}, "\n")
	want := []string{
		"3 name fleet.device-name", "3 authentication fleet.auth-mode", "3 auth_string fleet.string-form", "3 operation fleet.operation",
		"3 key_order fleet.key-order", "3 rsa_bits fleet.key-size", "3 ec_bits fleet.key-size", "3 completes_by fleet.completes-by",
		"4 name fleet.device-name", "5 name fleet.csv-duplicate", "6  fleet.csv-row", "7  fleet.csv-row", "8  fleet.csv-encoding",
		"9 auth_string fleet.string-missing", "10  fleet.csv-row", "11 description fleet.description", "12 model fleet.model",
		"13  fleet.csv-row", "14 description fleet.description",
	}
	for _, partial := range []bool{false, true} {
		for _, dry := range []bool{false, true} {
			t.Run(fmt.Sprintf("partial %v, dry run %v", partial, dry), func(t *testing.T) {
				t.Parallel()
				m := &fleettest.Memory{}
				got := importInto(t, m, text, fleet.Import{Partial: partial, DryRun: dry})
				if got.Rows != 14 || got.Bad != 12 || got.Added != 2 || got.Written != (partial && !dry) {
					t.Errorf("%+v", got)
				}
				var problems []string
				for _, p := range got.Problems {
					problems = append(problems, fmt.Sprintf("%d %s %s", p.Line, p.Column, p.Code))
					if p.Detail == "" || p.Remedy == "" || len(p.Detail) > 300 || strings.Contains(p.Detail, "12ab") {
						t.Errorf("%+v", p)
					}
				}
				if diff := cmp.Diff(want, problems); diff != "" {
					t.Error(diff)
				}
				if n := len(rowsOf(t, m)); n != map[bool]int{true: 2}[got.Written] {
					t.Errorf("%d phones are there", n)
				}
			})
		}
	}
	if p := read(t, text).Problems; !strings.Contains(p[3].Detail, `"instal"`) || !strings.Contains(p[9].Detail, "line 2") || !strings.Contains(p[12].Detail, "0xFC") {
		t.Errorf("%+v", p)
	}
}

func TestReadSheetRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, code, says string }{
		{"nothing", "", "fleet.csv-empty", "empty"},
		{"blank lines", "\n \n\n", "fleet.csv-empty", "empty"},
		{"header only", "name,model\n\n", "fleet.csv-empty", "no phones"},
		{"no name", "model,description\n8865,x\n", "fleet.csv-header", "no column name"},
		{"no header", "SEP001122334455,8865\n", "fleet.csv-header", `"SEP001122334455" is no column`},
		{"misspelt", "name,operaton\nSEP001122334455,install\n", "fleet.csv-header", "did you mean operation?"},
		{"twice", "name,model,Device Type\nSEP001122334455,1,2\n", "fleet.csv-header", "model is there twice"},
		{"quote", "name,\"model\nSEP001122334455,1\n", "fleet.csv-header", "quotes"},
		{"UTF-16", "\xff\xfen\x00a\x00", "fleet.csv-encoding", "iconv -f UTF-16 "},
		{"UTF-16 without a mark", "n\x00a\x00m\x00e\x00\n\x00S\x00E\x00P\x00", "fleet.csv-encoding", "UTF-16"},
		{"line ends of old Macintoshes", "name,model\rSEP001122334455,8865\r", "fleet.csv-header", "carriage returns"},
		{"too many rows", "name\n" + strings.Repeat("x\n", 100_001), "fleet.csv-too-long", "100000 rows"},
		{"workbook", "PK\x03\x04....", "fleet.csv-encoding", "CSV; open it with the program"},
		{"Windows-1252", "name,B\xfcro\n", "fleet.csv-encoding", "line 1"},
		{"long", "name," + strings.Repeat("x", 70_000) + "\n", "fleet.csv-header", "64 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := fleet.ReadSheet(strings.NewReader(tt.text), nil)
			p, ok := errors.AsType[*fleet.Problem](err)
			if !ok || p.Code() != tt.code || !strings.Contains(p.Error()+"; "+p.Remedy(), tt.says) || p.Remedy() == "" {
				t.Errorf("%v", err)
			}
		})
	}
	broken := io.MultiReader(strings.NewReader("name\nSEP001122334455\n"), iotest{})
	if _, err := fleet.ReadSheet(broken, nil); !errors.Is(err, errBroken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	s := read(t, "Device Name,Device Pool,Location\nSEP001122334455,a,b\n")
	if diff := cmp.Diff([]string{"Device Pool", "Location"}, s.Ignored); diff != "" {
		t.Error(diff)
	}
}

type iotest struct{}

func (iotest) Read([]byte) (int, error) { return 0, errBroken }

// TestImportManyProblems: of very many bad rows a thousand are told, and all are counted.
func TestImportManyProblems(t *testing.T) {
	t.Parallel()
	text := "name,operation,rsa_bits\n" + strings.Repeat("SEP1,instal,1\n", 5000)
	got := importInto(t, &fleettest.Memory{}, text, fleet.Import{})
	if got.Bad != 5000 || len(got.Problems) != 1000 {
		t.Errorf("%d bad rows, %d told", got.Bad, len(got.Problems))
	}
}

// TestExportImport: what is exported is imported to the same records, on an empty store and on the same one.
func TestExportImport(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	texts := []string{"", "8865", "=cmd|' /C calc'!A0", "'quoted", "''", "'", "'=", "+33 1", "-", "@", "a;b,c\"d", " x ", "Zürich 한국 🎉", "\u00a0x", "\"", ",", "name"}
	text := func() string { return texts[rnd.IntN(len(texts))] }
	for range 300 {
		var devices []fleet.Device
		for i := range 1 + rnd.IntN(5) {
			d := fleet.NewDevice(fmt.Sprintf("SEP%012X", i))
			d.Model, d.Description = text(), text()
			d.Auth = fleet.AuthModes()[rnd.IntN(4)]
			if d.Auth == fleet.AuthString || rnd.IntN(5) == 0 {
				d.AuthString = capf.Secret(fmt.Sprintf("%04d", rnd.IntN(10_000)))
			}
			d.KeyOrder, d.RSABits, d.ECBits = fleet.KeyOrders()[rnd.IntN(3)], fleet.RSASizes()[rnd.IntN(5)], fleet.ECSizes()[rnd.IntN(3)]
			d.Schedule(fleet.Operations()[rnd.IntN(4)], importedAt)
			if rnd.IntN(2) == 0 {
				d.CompletesBy = importedAt.Add(time.Duration(rnd.IntN(1e9)) * time.Millisecond)
			}
			if err := d.Validate(); err != nil {
				t.Fatal(err)
			}
			devices = append(devices, d)
		}
		store := &fleettest.Memory{}
		if err := store.AddDevices(t.Context(), devices); err != nil {
			t.Fatal(err)
		}
		want := rowsOf(t, store)
		var file bytes.Buffer
		w := fleet.NewSheetWriter(&file, true)
		for i := range devices {
			w.Write(&devices[i])
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(file.String()) {
			for cell := range strings.SplitSeq(line, ",") {
				if strings.ContainsAny(strings.Trim(cell, `" `)[:min(1, len(strings.Trim(cell, `" `)))], "=+-@") {
					t.Fatalf("a cell that a spreadsheet program computes: %s", line)
				}
			}
		}
		for _, into := range []*fleettest.Memory{{}, store} {
			got := importInto(t, into, file.String(), fleet.Import{Expires: time.Hour})
			if !got.Written || got.Bad > 0 || into == store && got.Unchanged != len(devices) {
				t.Fatalf("%+v\n%s", got, &file)
			}
			if diff := cmp.Diff(want, rowsOf(t, into)); diff != "" {
				t.Fatalf("%s\n%s", diff, &file)
			}
		}
	}
	var file bytes.Buffer
	d := fleet.NewDevice("SEP001122334455")
	d.AuthString = capf.Secret("12345")
	w := fleet.NewSheetWriter(&file, false)
	w.Write(&d)
	if err := w.Flush(); err != nil || strings.Contains(file.String(), "12345") || strings.Contains(file.String(), "auth_string") {
		t.Errorf("exported without strings (%v):\n%s", err, &file)
	}
	file.Reset()
	w = fleet.NewStringsWriter(&file)
	w.Write(&d)
	if err := w.Flush(); err != nil || file.String() != "name,auth_string\nSEP001122334455,12345\n" {
		t.Errorf("strings (%v):\n%s", err, &file)
	}
}

// TestImportMany: 20,000 rows are one transaction.
func TestImportMany(t *testing.T) {
	t.Parallel()
	var file strings.Builder
	file.WriteString("name,model,description,operation\n")
	for i := range 20_000 {
		fmt.Fprintf(&file, "SEP%012X,8865,room %d,install\n", i, i)
	}
	m := &fleettest.Memory{}
	seen := 0
	got := importInto(t, m, file.String(), fleet.Import{Progress: func(n int) { seen = max(seen, n) }})
	if got.Added != 20_000 || !got.Written || seen != 20_000 {
		t.Errorf("%+v, progress to %d", got, seen)
	}
	if got = importInto(t, m, file.String(), fleet.Import{}); got.Unchanged != 20_000 {
		t.Errorf("the same again: %+v", got)
	}
}

func FuzzCSV(f *testing.F) {
	for _, seed := range []string{
		"name,model,operation\nSEP001122334455,8865,install\n",
		"\xef\xbb\xbfName;Operation\r\nSEP001122334455;Install/Upgrade\r\n",
		"sep=\t\nname\tdescription\nSEP001122334455\t\"a \"\"b\"\"\"\n",
		"Device Name,Device Pool,Authentication Mode,Authentication String\nSEP001122334455,x,By Authentication String,1234\n",
		"name,description\nSEP001122334455,\"open\nSEP001122334456,x\nSEP001122334456,y\n",
		"name,description\nSEP001122334455,B\xfcro\n",
		"name,auth_string,authentication,operation\nSEP001122334455,0123,null,troubleshoot\nSEP001122334456,,string,install\n",
		"name,completes_by,rsa_bits,ec_bits,key_order\nCSFUSER,2027:01:20:12:00,KEY_SIZE_2048:3,INVALID:0,\"EC Preferred, RSA Backup\"\n",
		"name\n\"", "PK\x03\x04", "\xff\xfe", "sep=;", ",,,\n,,,\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := fleet.ReadSheet(bytes.NewReader(data), time.UTC)
		if err != nil {
			if p, ok := errors.AsType[*fleet.Problem](err); !ok || p.Remedy() == "" || len(p.Error()) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		m := &fleettest.Memory{}
		got, err := s.Import(t.Context(), m, fleet.Import{Partial: true, Now: importedAt})
		if err != nil {
			t.Fatal(err)
		}
		if got.Rows != got.Added+got.Bad || got.Changed+got.Unchanged > 0 || got.Rows > bytes.Count(data, []byte("\n"))+1 {
			t.Fatalf("%+v", got)
		}
		if got.Bad > 0 == (len(got.Problems) == 0) {
			t.Fatalf("%d bad rows, %d told", got.Bad, len(got.Problems))
		}
		for _, p := range got.Problems {
			if p.Line < 2 || p.Code == "" || p.Detail == "" || p.Remedy == "" || !utf8.ValidString(p.Detail) {
				t.Fatalf("%+v", p)
			}
		}
		devices, _, err := m.Devices(t.Context(), fleet.Query{})
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		w := fleet.NewSheetWriter(&file, true)
		for i := range devices {
			if err := devices[i].Validate(); err != nil {
				t.Fatal(err)
			}
			w.Write(&devices[i])
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if len(devices) == 0 {
			return
		}
		again, err := fleet.ReadSheet(&file, time.UTC)
		if err != nil {
			t.Fatal(err)
		}
		got, err = again.Import(t.Context(), m, fleet.Import{Now: importedAt})
		if err != nil || got.Unchanged != len(devices) || !got.Written {
			t.Fatalf("what was exported is imported as %+v (%v)", got, err)
		}
	})
}
