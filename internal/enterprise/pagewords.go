package enterprise

// pageWords are the words of certsrvtest.
var pageWords = []Word{
	{"issue", "", "certificates are issued at once, also by a standalone CA"},
	{"pending", "", "requests wait for an administrator"},
	{"deny", "[=0xHRESULT]", "requests are denied"},
	{"rpc-down", "", "the web server does not reach its CA"},
	{"500", "", "requests fail with status 500"},
	{"hang", "", "requests are never answered"},
	{"drop", "", "certificates are issued and the answer is lost"},
	{"slow", "=TIME", "requests are answered after this time, such as 12s"},
	{"approve", "=TIME", "pending requests are approved after this time"},
	{"times", "=N", "the first N requests are treated so, later ones well"},
	{"lang", "=en|fr", "language of the pages"},
}
