"""What the intakes of site systems share: typed records, mapping files, rows, samples.

A leaf used by intake_http, intake_mqtt and intake_folder. No driver: it exports no DRIVER.
"""
