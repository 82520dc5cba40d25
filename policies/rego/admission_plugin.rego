# How plugins are admitted: as every artifact is. A clause for plugins alone belongs here.
package admission_plugin

import rego.v1

decision := data.admission.weighed
