//nolint:misspell // the words are French
package certsrvtest

var french = words{
	welcome: "Bienvenue", submit: "Soumettre une demande", caCerts: "Certificats et listes de l’autorité", pendingList: "Demandes en attente",
	issued: "Certificat émis", pending: "Certificat en attente", denied: "Demande de certificat refusée", failed: "Erreur",
	issuedText:  "Le certificat demandé a été émis.",
	pendingText: "Votre demande a été reçue ; un administrateur doit encore l’approuver.",
	deniedText:  "Votre demande de certificat a été refusée.",
	requestID:   "L’identificateur de votre requête est %d.", disposition: "Le message de disposition est « %s ».",
	noRequests: "Ce navigateur n’a aucune demande en attente.", removed: "L’entrée a été retirée de la liste de ce navigateur.",
	contact:   "Demandez de l’aide à l’administrateur de ce serveur.",
	labelMode: "Mode de la demande :", labelDisp: "Disposition :", labelMessage: "Message de disposition :", labelResult: "Résultat :",
	labelCOM: "Informations COM :", labelLast: "Dernier état :", labelCause: "Cause possible :",
	unknown: "(inconnu)", none: "(aucun)", cause: "Voyez l’état ci-dessus.",
	byPolicy: "Refusée par le module de stratégie", byManager: "Refusée par %s", taken: "En cours d’examen", issuedMsg: "Émise",
	parsing: "Erreur à l’analyse de la demande", constructing: "Erreur à la construction ou à la publication du certificat",
	verifying: "Erreur à la vérification de la signature ou du certificat signataire", notYours: "Un autre compte a fait cette demande",
	newRequest: "newreq - nouvelle demande", checkPending: "chkpnd - demande en attente",
	unsupportedTemplate: "Le modèle de certificat n’est pas pris en charge par la stratégie : %s.",
	missingTemplate:     "La demande ne nomme aucun modèle de certificat.",
	statuses: map[uint32]string{
		0:               "Opération réussie.",
		eRPCUnavailable: "Serveur RPC indisponible.",
		ePropertyEmpty:  "La propriété demandée est vide.",
		eTemplateDenied: "Autorisations insuffisantes.",
		eAdminDenied:    "Un gestionnaire de certificats a refusé la demande.",
		eBadTag:         "Balise ASN1 inattendue.",
		eAccessDenied:   "Accès refusé.",
		eBadSignature:   "Signature incorrecte.",
	},
	otherStatus: "L’autorité a refusé la demande.",
}
