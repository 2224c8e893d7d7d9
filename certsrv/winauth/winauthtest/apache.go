package winauthtest

import (
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ApacheOptions say what Apache does beside asking for a login.
type ApacheOptions struct {
	KeepAlive    time.Duration // after which an idle connection is closed, in whole seconds; 0 means 60 s
	KerberosOnly bool          // refuse NTLM
	// Backend is HOST:PORT of a server, https on loopback, that gets what is below /certsrv/ once somebody is logged in;
	// empty: pages of Apache's own. Its certificate is not looked at.
	Backend string
	// BackendUser and BackendPassword go to the backend by Basic in place of the login.
	BackendUser, BackendPassword string
}

// StartApache starts Apache with mod_auth_gssapi, which takes NTLM by gss-ntlmssp and, with a KDC, Kerberos for the service
// HTTP/[Host], which is added. "/certsrv" answers 301 to "/certsrv/" once somebody is logged in, as IIS does. mod_auth_gssapi
// knows no channel bindings. It has no more than 16 connections at a time.
func StartApache(t testing.TB, k *KDC, o ApacheOptions) *Server {
	t.Helper()
	program := need(t, "apache2", "/usr/sbin/apache2")
	modules := filepath.Dir(need(t, "libapache2-mod-auth-gssapi", "/usr/lib/apache2/modules/mod_auth_gssapi.so"))
	if os.Geteuid() != 0 {
		missing(t, "the test bed runs Apache as root and its children as www-data")
	}
	s := newServer(t, elliptic.P256())
	write(t, s.path("www/certsrv/index.html"), "welcome\n")
	write(t, s.path("www/certsrv/certrqxt.asp"), "page\n")
	write(t, s.path("logs/.keep"), "")
	mechanisms, keytab, proxy := "", "", ""
	if k != nil {
		keytab, mechanisms = k.AddService(t, "HTTP/"+Host), "GssapiAllowedMech krb5"
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Minute
	}
	if o.Backend != "" {
		proxy = strings.NewReplacer("$B", o.Backend, "$C", base64.StdEncoding.EncodeToString([]byte(o.BackendUser+":"+o.BackendPassword))).Replace(backendConf)
	}
	write(t, s.path("httpd.conf"), strings.NewReplacer("$T", s.dir, "$ADDR", s.addr, "$M", modules, "$HOST", Host, "$KRB5", mechanisms,
		"$KEEP", fmt.Sprintf("%d", int(o.KeepAlive.Seconds())), "$PROXY", proxy).Replace(apacheConf))
	s.proc = start(t, s.environment(k, keytab), []string{s.path("logs/error.log")}, program, "-f", s.path("httpd.conf"), "-DFOREGROUND")
	s.proc.await(t, s.addr)
	return s
}

// AccessLog returns the lines of Apache's access log as soon as there are that many: user, request line, status.
func (s *Server) AccessLog(t testing.TB, lines int) []string {
	t.Helper()
	var got []string
	for end := time.Now().Add(patience); len(got) < lines && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		got = strings.Split(strings.TrimSpace(s.read(t, "logs/access.log")), "\n")
	}
	return got
}

// Logs returns all that Apache has logged.
func (s *Server) Logs(t testing.TB) string {
	t.Helper()
	return s.read(t, "logs/access.log") + s.read(t, "logs/error.log")
}

func (s *Server) read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

const apacheConf = `ServerRoot $T
ServerName $HOST
PidFile $T/httpd.pid
Listen $ADDR
User www-data
Group www-data
StartServers 10
MinSpareServers 10
MaxSpareServers 16
ServerLimit 16
MaxRequestWorkers 16
KeepAlive On
KeepAliveTimeout $KEEP
LoadModule mpm_prefork_module $M/mod_mpm_prefork.so
LoadModule authn_core_module $M/mod_authn_core.so
LoadModule authz_core_module $M/mod_authz_core.so
LoadModule authz_user_module $M/mod_authz_user.so
LoadModule auth_gssapi_module $M/mod_auth_gssapi.so
LoadModule mime_module $M/mod_mime.so
LoadModule dir_module $M/mod_dir.so
LoadModule ssl_module $M/mod_ssl.so
LoadModule headers_module $M/mod_headers.so
LoadModule proxy_module $M/mod_proxy.so
LoadModule proxy_http_module $M/mod_proxy_http.so
LoadModule socache_shmcb_module $M/mod_socache_shmcb.so
TypesConfig /etc/mime.types
DocumentRoot $T/www
ErrorLog $T/logs/error.log
LogLevel info
LogFormat "%u \"%r\" %>s" c
CustomLog $T/logs/access.log c
Mutex file:$T default
<VirtualHost $ADDR>
  SSLEngine on
  SSLCertificateFile $T/srv.pem
  SSLCertificateKeyFile $T/srv.key
  <Location /certsrv>
    AuthType GSSAPI
    AuthName "certsrv"
    $KRB5
    GssapiAllowedMech ntlmssp
    GssapiConnectionBound On
    GssapiSSLonly On
    GssapiBasicAuth Off
    Require valid-user
  </Location>
$PROXY
</VirtualHost>
`

const backendConf = `  SSLProxyEngine on
  SSLProxyVerify none
  SSLProxyCheckPeerName off
  ProxyPassMatch "^/certsrv/(.+)$" "https://$B/certsrv/$1"
  <LocationMatch "^/certsrv/.+">
    RequestHeader set Authorization "Basic $C"
  </LocationMatch>
`
