"""The columns of FOCUS, the FinOps Open Cost and Usage Specification, and which of them Millrace has.

The list is that of version 1.2: one line per column, with its data type, its feature level and whether it
may be null (each column's table of content constraints).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

VERSION = "1.2"
Category = Literal["Standard", "Dynamic", "Committed"]  # pricing's: list price, spot, reserved
CATEGORIES: tuple[Category, ...] = get_args(Category)
CUSTOM = "x_"  # before the name of a column that the specification does not have, as it asks


@dataclass(frozen=True)
class FocusColumn:
    """A column of the specification."""

    name: str
    type: str  # Decimal, String, Date/Time or JSON
    level: str  # Mandatory, Conditional or Recommended
    nulls: bool


COLUMNS = (
    FocusColumn("AvailabilityZone", "String", "Recommended", nulls=True),
    FocusColumn("BilledCost", "Decimal", "Mandatory", nulls=False),
    FocusColumn("BillingAccountId", "String", "Mandatory", nulls=False),
    FocusColumn("BillingAccountName", "String", "Mandatory", nulls=True),
    FocusColumn("BillingAccountType", "String", "Conditional", nulls=False),
    FocusColumn("BillingCurrency", "String", "Mandatory", nulls=False),
    FocusColumn("BillingPeriodEnd", "Date/Time", "Mandatory", nulls=False),
    FocusColumn("BillingPeriodStart", "Date/Time", "Mandatory", nulls=False),
    FocusColumn("CapacityReservationId", "String", "Conditional", nulls=True),
    FocusColumn("CapacityReservationStatus", "String", "Conditional", nulls=True),
    FocusColumn("ChargeCategory", "String", "Mandatory", nulls=False),
    FocusColumn("ChargeClass", "String", "Mandatory", nulls=True),
    FocusColumn("ChargeDescription", "String", "Mandatory", nulls=True),
    FocusColumn("ChargeFrequency", "String", "Recommended", nulls=False),
    FocusColumn("ChargePeriodEnd", "Date/Time", "Mandatory", nulls=False),
    FocusColumn("ChargePeriodStart", "Date/Time", "Mandatory", nulls=False),
    FocusColumn("CommitmentDiscountCategory", "String", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountId", "String", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountName", "String", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountQuantity", "Decimal", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountStatus", "String", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountType", "String", "Conditional", nulls=True),
    FocusColumn("CommitmentDiscountUnit", "String", "Conditional", nulls=True),
    FocusColumn("ConsumedQuantity", "Decimal", "Conditional", nulls=True),
    FocusColumn("ConsumedUnit", "String", "Conditional", nulls=True),
    FocusColumn("ContractedCost", "Decimal", "Mandatory", nulls=False),
    FocusColumn("ContractedUnitPrice", "Decimal", "Conditional", nulls=True),
    FocusColumn("EffectiveCost", "Decimal", "Mandatory", nulls=False),
    FocusColumn("InvoiceId", "String", "Recommended", nulls=True),
    FocusColumn("InvoiceIssuerName", "String", "Mandatory", nulls=False),
    FocusColumn("ListCost", "Decimal", "Mandatory", nulls=False),
    FocusColumn("ListUnitPrice", "Decimal", "Conditional", nulls=True),
    FocusColumn("PricingCategory", "String", "Conditional", nulls=True),
    FocusColumn("PricingCurrency", "String", "Conditional", nulls=True),
    FocusColumn("PricingCurrencyContractedUnitPrice", "Decimal", "Conditional", nulls=True),
    FocusColumn("PricingCurrencyEffectiveCost", "Decimal", "Conditional", nulls=True),
    FocusColumn("PricingCurrencyListUnitPrice", "Decimal", "Conditional", nulls=True),
    FocusColumn("PricingQuantity", "Decimal", "Mandatory", nulls=True),
    FocusColumn("PricingUnit", "String", "Mandatory", nulls=True),
    FocusColumn("ProviderName", "String", "Mandatory", nulls=False),
    FocusColumn("PublisherName", "String", "Mandatory", nulls=False),
    FocusColumn("RegionId", "String", "Conditional", nulls=True),
    FocusColumn("RegionName", "String", "Conditional", nulls=True),
    FocusColumn("ResourceId", "String", "Conditional", nulls=True),
    FocusColumn("ResourceName", "String", "Conditional", nulls=True),
    FocusColumn("ResourceType", "String", "Conditional", nulls=True),
    FocusColumn("ServiceCategory", "String", "Mandatory", nulls=False),
    FocusColumn("ServiceName", "String", "Mandatory", nulls=False),
    FocusColumn("ServiceSubcategory", "String", "Recommended", nulls=False),
    FocusColumn("SkuId", "String", "Conditional", nulls=True),
    FocusColumn("SkuMeter", "String", "Conditional", nulls=True),
    FocusColumn("SkuPriceDetails", "JSON", "Conditional", nulls=True),
    FocusColumn("SkuPriceId", "String", "Conditional", nulls=True),
    FocusColumn("SubAccountId", "String", "Conditional", nulls=True),
    FocusColumn("SubAccountName", "String", "Conditional", nulls=True),
    FocusColumn("SubAccountType", "String", "Conditional", nulls=True),
    FocusColumn("Tags", "JSON", "Conditional", nulls=True),
)
BY_NAME = {column.name: column for column in COLUMNS}

# Mandatory columns that an export does not have, and why: a made-up value would be worse.
_NO_INVOICE = "nothing here was invoiced: the cost is estimated from a price book"
ABSENT = {
    "BilledCost": _NO_INVOICE + ", and the sum of BilledCost must be that of an invoice",
    "BillingAccountId": "Millrace knows no billing account; add yours when the rows are loaded",
    "BillingAccountName": "Millrace knows no billing account; add yours when the rows are loaded",
    "BillingPeriodEnd": _NO_INVOICE + ", so there is no billing period",
    "BillingPeriodStart": _NO_INVOICE + ", so there is no billing period",
    "InvoiceIssuerName": _NO_INVOICE,
    "ProviderName": "a price book names machines and regions, not who provides them",
    "PublisherName": "a price book names machines and regions, not who provides them",
}
# What a reader of the columns that are there should know.
NOTES = {
    "ChargeClass": "null: a correction of what was never invoiced is none in the specification's "
    "sense; x_RecordType says what was taken back and said again",
    "ChargePeriodStart": "whole seconds, rounded down; x_HeldFrom is exact",
    "ChargePeriodEnd": "whole seconds, rounded up; x_HeldUntil is exact, and null where Spark's task "
    "times are missing: then this is the start and the time that was held",
    "ContractedCost": "EffectiveCost: a price book has one price for each category",
    "ListCost": "EffectiveCost: a price book has one price for each category",
    "ListUnitPrice": "the price book's price in PricingCategory",
    "ServiceName": "what consumed the machine",
}
