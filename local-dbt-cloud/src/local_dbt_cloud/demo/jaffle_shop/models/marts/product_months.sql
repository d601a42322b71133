with

order_items as (

    select * from {{ ref('order_items') }}

),

by_month as (

    select
        product_id,
        product_name,
        category,
        date_trunc('month', ordered_date)::date as date_month,
        sum(quantity) as units_ordered,
        sum(revenue) as revenue,
        sum(cost) as cost,
        sum(margin) as margin,

    from order_items
    group by all

)

select
    *,
    (margin / nullif(revenue, 0))::decimal(8, 4) as margin_rate,

from by_month
